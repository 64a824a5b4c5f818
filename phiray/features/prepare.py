"""Compute the features of a data set's pictures that are not in the cache yet, and list all.

    FOLDER/known_files.json     hashes of files (`known_files.py`)
          /KEY/identity.json    tower, weights and transform that the key stands for
          /KEY/shards/          features by the picture's hash (`shards.py`)
          /KEY/views/           lists: what a run reads (`phiray/data/feature_view.py`)

Features of another tower, layer, pooling or transform have another key; pictures of other bytes
have another hash. As a last guard, some pictures that were found are computed again and compared.

Source: DESIGN 6: the cache is keyed by image hash, tower weights and transform.
Limits: one process, on one device; another one that needs the same folder waits for it.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from phiray.checkpoints.files import write_json, write_text
from phiray.data.atomic import error_from_write
from phiray.data.feature_view import FEATURE_DTYPE, Fault, FeatureList, Place
from phiray.data.sources.annotations import say_counts
from phiray.errors import DataError, ExitCode
from phiray.features.compute import BATCH, Picture, compute_features
from phiray.features.identity import Identity, identify, key_of
from phiray.features.known_files import KnownFiles
from phiray.features.listing import SHARDS, Hashes, hash_pictures, list_features
from phiray.features.lock import locked
from phiray.features.shards import (
    Computed,
    Record,
    pictures_per_shard,
    read_shards,
    remove_partial,
    write_shard,
)
from phiray.models.interface import FeatureTower
from phiray.storage import AnyPath
from phiray.types import Progress

SETTING = "data.feature_cache"
VIEWS, IDENTITY_FILE = "views", "identity.json"
KNOWN_FILES = "known_files.json"
NUM_SAMPLES = 2
"""Pictures that are computed again: a second or less."""
MAX_DIFFERENCE = 0.03
"""Between stored and computed features, as a share of their norm. Under a ViT-B/32 of random
weights rounding to bf16 makes 0.0017, a neighbouring layer or a shift by one pixel 0.22 to 0.26,
and another of COCO's pictures 0.43 or more."""
_KEY_DIGITS = 16
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class Wanted:
    """The pictures of a data set."""

    folder: AnyPath
    """Of all of them."""
    paths: Sequence[AnyPath]
    """Each once."""
    max_bad_fraction: float
    """Share (0..1) of them that may have no features."""


@dataclass(frozen=True)
class PreparedFeatures:
    """What a run is given."""

    file: Path
    """The list."""
    num_pictures: int
    """Pictures that have features."""
    num_computed: int
    """Pictures that the tower saw now, and not before."""


def prepare_features(
    wanted: Wanted,
    tower: FeatureTower,
    *,
    cache: Path,
    device: torch.device,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> PreparedFeatures:
    """Compute what is missing, and write the list of all.

    Args:
        wanted: the pictures.
        tower: the frozen tower; it is moved to the device.
        cache: folder of the cache; made if it is not there.
        device: where the tower runs.
        progress: told of hashing and computing.
        note: told how many pictures are computed, how much room they take, and where.

    Raises:
        DataError: if too many pictures are bad (65), or the folder cannot be written (73, 74, 77).
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "lock", progress=progress) as is_alone:
            known = KnownFiles(cache / KNOWN_FILES)
            try:
                work = _Work(wanted, tower, cache=cache, device=device, known=known)
                if is_alone:
                    work.clear()
                return work.run(progress, note)
            finally:
                known.save()
    except OSError as error:
        raise error_from_write(cache, error, setting=SETTING) from error


class _Work:
    """One preparation: what all of its parts need."""

    def __init__(
        self,
        wanted: Wanted,
        tower: FeatureTower,
        *,
        cache: Path,
        device: torch.device,
        known: KnownFiles,
    ) -> None:
        self._wanted = wanted
        self._tower = tower.to(device)
        self._device = device
        self._known = known
        self._identity: Identity = identify(tower)
        self._folder = cache / key_of(self._identity)[:_KEY_DIGITS]
        patches, vision_hidden = tower.feature_shape
        self._picture_bytes = patches * vision_hidden * FEATURE_DTYPE.itemsize

    def clear(self) -> None:
        """Delete what a killed process left unfinished."""
        remove_partial(self._folder / SHARDS)

    def run(
        self, progress: Progress | None, note: Callable[[str], None] | None
    ) -> PreparedFeatures:
        for name in (SHARDS, VIEWS):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        if not (self._folder / IDENTITY_FILE).is_file():
            write_json(self._folder / IDENTITY_FILE, self._identity)
        hashes = hash_pictures(self._wanted.paths, known=self._known, progress=progress)
        self._known.save()  # hours of computing may follow
        records = read_shards(self._folder / SHARDS, known=self._known)
        stored = {picture for record in records for picture in record.pictures}
        missing = _missing(hashes, stored)
        self._check_bad(hashes, records)
        self._check_sample(hashes, records)
        if missing:
            self._announce(len(missing), note)
            for record in self._compute(missing, progress):
                records.append(record)
                self._check_bad(hashes, records)
        listed = list_features(
            hashes, records, folder=self._wanted.folder, shape=self._tower.feature_shape
        )
        usable = sum(isinstance(found, Place) for found in listed.pictures.values())
        return PreparedFeatures(self._write_list(listed), usable, num_computed=len(missing))

    def _announce(self, num_missing: int, note: Callable[[str], None] | None) -> None:
        num_bytes, free = num_missing * self._picture_bytes, shutil.disk_usage(self._folder).free
        total = len(self._wanted.paths)
        if num_bytes > free:
            raise DataError(
                f"The features of {num_missing} pictures take {_size(num_bytes)}, but "
                f"{self._folder} has {_size(free)} free. It must hold them. Make room, set "
                f"{SETTING} to another place, or take fewer pictures (data.max_images) or patches "
                "(vision.pooling).",
                exit_code=ExitCode.IO,
            )
        if note is not None:
            note(
                f"{num_missing} of {total} pictures have no features yet. They take "
                f"{_size(num_bytes)} in {self._folder} ({_size(free)} are free)."
            )

    def _compute(self, missing: list[Picture], progress: Progress | None) -> Iterator[Record]:
        size = pictures_per_shard(self._picture_bytes, batch=BATCH)
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            batches = compute_features(self._tower, chunk, device=self._device)
            told = _told(batches, progress, done=start, total=len(missing))
            yield write_shard(self._folder / SHARDS, [p.sha256 for p in chunk], told)

    def _check_bad(self, hashes: Hashes, records: Sequence[Record]) -> None:
        broken = {
            record.pictures[row]: found.reason
            for record in records
            for row, found in record.broken.items()
        }
        bad = {
            path: found.reason if isinstance(found, Fault) else broken[found]
            for path, found in hashes.items()
            if isinstance(found, Fault) or found in broken
        }
        if len(bad) <= self._wanted.max_bad_fraction * len(hashes):
            return
        raise DataError(
            f"{len(bad)} of {len(hashes)} pictures cannot be used "
            f"({say_counts(Counter(bad.values()))}), e.g. {next(iter(bad))}. At most "
            f"data.max_bad_fraction={self._wanted.max_bad_fraction} may be bad. `phiray data check`"
            " names all; mend or remove them."
        )

    def _check_sample(self, hashes: Hashes, records: Sequence[Record]) -> None:
        """Compute a few stored features again: the tower must still be what the key says."""
        found = {
            picture: (record, row)
            for record in records
            for row, picture in enumerate(record.pictures)
            if row not in record.broken
        }
        usable = [Picture(sha, path) for path, sha in hashes.items() if sha in found]
        samples = usable[:: max(1, len(usable) // NUM_SAMPLES)][:NUM_SAMPLES]
        for batch in compute_features(self._tower, samples, device=self._device):
            for picture, computed in zip(samples, batch.rows, strict=True):
                record, row = found[picture.sha256]
                stored = self._read(record, row)
                difference = _difference(stored, computed)
                if not difference <= MAX_DIFFERENCE:
                    raise DataError(
                        f"The features of {picture.path} in {self._folder} differ from what the "
                        f"tower computes by {difference:.2g} of their norm. Expected at most "
                        f"{MAX_DIFFERENCE}. They were made by something else: delete that folder, "
                        "and start again."
                    )

    def _read(self, record: Record, row: int) -> np.ndarray:
        file = self._folder / SHARDS / record.name
        rows = np.memmap(file, dtype=FEATURE_DTYPE, mode="r")
        return np.array(rows.reshape(-1, *self._tower.feature_shape)[row])

    def _write_list(self, found: FeatureList) -> Path:
        text = found.to_json()
        file = self._folder / VIEWS / f"{found.digest}.json"
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_text(file, text)
        return file


def _missing(hashes: Hashes, stored: set[str]) -> list[Picture]:
    """List the pictures to compute, each content once, in the order of the data."""
    missing: dict[str, Picture] = {}
    for path, found in hashes.items():
        if isinstance(found, str) and found not in stored:
            missing.setdefault(found, Picture(found, path))
    return list(missing.values())


def _told(
    batches: Iterator[Computed], progress: Progress | None, *, done: int, total: int
) -> Iterator[Computed]:
    for batch in batches:
        done += len(batch.rows)
        yield batch
        if progress is not None:
            progress("CLIP features", done, total)


def _difference(stored: np.ndarray, computed: np.ndarray) -> float:
    """Return the norm of the difference of two bf16 arrays as a share of the second's."""
    one, other = (
        torch.from_numpy(a.copy()).view(torch.bfloat16).double() for a in (stored, computed)
    )
    return float((one - other).norm() / other.norm())


def _size(num_bytes: int) -> str:
    scale, unit = next((s, u) for s, u in _UNITS if num_bytes >= s or u == "kB")
    return f"{num_bytes / scale:.3g} {unit}"
