"""The shards of a cache: each holds the features of the pictures that its record lists by hash.

A shard is named by the hash of its list, and computed in batches that are cut from the list alone.
So a preparation that goes on after it was killed makes the very bytes that it would have made.

    NAME.bin    (pictures, patches, vision_hidden) bf16, little-endian; zeros where there is none
    NAME.json   the record, written last: with it the shard is there

Source: DESIGN 6 (memory-mapped rows), DESIGN 9 (write, fsync, rename).
Limits: nothing is ever deleted; features of pictures that are gone stay until the folder goes.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phiray.checkpoints.files import sync_path, write_json
from phiray.features.known_files import KnownFiles

SHARD_BYTES = 2**26
"""64 MiB: 891 of COCO's pictures under ViT-B/32, a minute or two of a CPU that a kill costs."""
_PARTIAL = ".partial-"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Broken:
    """Why a picture of these bytes has no features."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Record:
    """What a shard holds."""

    pictures: tuple[str, ...]
    """sha256 of each picture's bytes, in the order of the rows."""
    broken: dict[int, Broken]
    """By row; its features are zeros."""
    sha256: str
    """Of the file of features."""
    num_bytes: int

    @property
    def name(self) -> str:
        """The file of features."""
        return f"{shard_name(self.pictures)}.bin"


@dataclass(frozen=True)
class Computed:
    """The features of the pictures of one batch."""

    rows: npt.NDArray[np.int16]
    """(pictures, patches, vision_hidden), the bits of bf16."""
    broken: dict[int, Broken]
    """By row of the batch."""


def shard_name(pictures: Sequence[str]) -> str:
    """Name the shard of these pictures."""
    return hashlib.sha256("\n".join(pictures).encode()).hexdigest()[:32]


def pictures_per_shard(picture_bytes: int, *, batch: int) -> int:
    """Return how many pictures a shard holds: whole batches, and at least one."""
    return max(1, SHARD_BYTES // (picture_bytes * batch)) * batch


def write_shard(folder: Path, pictures: Sequence[str], batches: Iterator[Computed]) -> Record:
    """Write a shard as it is computed; it is there whole, or not at all.

    Args:
        folder: of the shards.
        pictures: their hashes.
        batches: their features, in order.

    Raises:
        OSError: if it cannot be written.
    """
    name = shard_name(pictures)
    partial = folder / f"{_PARTIAL}{name}-{os.getpid()}"
    digest, num_bytes, num_rows = hashlib.sha256(), 0, 0
    broken: dict[int, Broken] = {}
    try:
        with partial.open("wb") as stream:
            for batch in batches:
                data = np.ascontiguousarray(batch.rows, dtype="<i2").tobytes()
                stream.write(data)  # `tofile` hides a full disk
                digest.update(data)
                broken |= {num_rows + row: found for row, found in batch.broken.items()}
                num_bytes, num_rows = num_bytes + len(data), num_rows + len(batch.rows)
        assert num_rows == len(pictures), "each picture has its row"
        sync_path(partial)
        record = Record(tuple(pictures), broken, digest.hexdigest(), num_bytes)
        partial.rename(folder / record.name)
        write_json(folder / f"{name}.json", asdict(record))
    finally:
        partial.unlink(missing_ok=True)
    return record


def read_shards(folder: Path, *, known: KnownFiles) -> list[Record]:
    """Find the shards that are there and whole; others are deleted, and the log tells of them.

    Args:
        folder: of the shards.
        known: remembers which of them were verified.
    """
    records = []
    for file in sorted(folder.glob("*.json")):
        record = _read_record(file)
        if record is not None and _is_whole(folder / record.name, record, known=known):
            records.append(record)
        else:
            _log.warning("event=feature_shard_broken record=%s: it is made again", file)
            _remove(file)
    return records


def remove_partial(folder: Path) -> None:
    """Delete what a killed process left unfinished."""
    for leftover in folder.glob(f"{_PARTIAL}*"):
        leftover.unlink(missing_ok=True)


def _remove(record: Path) -> None:
    """Delete a record first: without it, its file is not there."""
    with suppress(OSError):
        record.unlink()
        record.with_suffix(".bin").unlink()


def _read_record(file: Path) -> Record | None:
    try:
        content = json.loads(file.read_bytes())
        broken = {int(row): Broken(**found) for row, found in content.pop("broken").items()}
        record = Record(tuple(content.pop("pictures")), broken, **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return record if file.stem == shard_name(record.pictures) else None


def _is_whole(file: Path, record: Record, *, known: KnownFiles) -> bool:
    try:
        is_as_long = file.stat().st_size == record.num_bytes
        return is_as_long and known.hash_of(file) == record.sha256
    except OSError:
        return False
