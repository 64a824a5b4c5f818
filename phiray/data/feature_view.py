"""The CLIP features of a run's pictures, as readers find them: places in memory-mapped shards.

    view = FeatureView(Path("features/1a2b/views/3c4d.json"), cache=NodeCache())
    view.row(row_id, tokens, path, folder=folder)

Source: DESIGN 6; a list is named by its own hash, as git names what it keeps, so whoever is given
its path knows what is in it. `phiray/features` writes all of it.
Limits: the picture's file is not looked at: what it held when the list was made is what counts, for
the whole run. The bytes of a shard are verified when the list is made, and by a node's cache.
"""

import hashlib
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.data.cache.node_cache import NodeCache
from phiray.data.rows import Row, bad_row
from phiray.errors import DataError, ExitCode
from phiray.storage import AnyPath
from phiray.text.prompts import TokenRow

FEATURE_DTYPE = np.dtype("<i2")
"""The 16 bits of a bf16, which numpy has no type for."""
_BLOCK_BYTES = 20_000_000
"""Features that travel through Ray Data together: as much as a block of JPEGs."""
_MAPPED_COPIES = 8
"""Shards of a node's cache that stay mapped: their room is not free while they are."""


@dataclass(frozen=True)
class Shard:
    """One file of features."""

    name: str
    num_rows: int
    sha256: str


@dataclass(frozen=True)
class Place:
    """Where the features of a picture are."""

    shard: int
    row: int


@dataclass(frozen=True)
class Fault:
    """Why a picture has no features: what a row without the cache would say."""

    reason: str
    detail: str
    is_file: bool
    """The file could not be read; the detail of a row then begins with its path."""


@dataclass(frozen=True)
class FeatureList:
    """What a run reads: for each picture its place, or why it has none."""

    shape: tuple[int, int]
    """(patches, vision_hidden) of one picture."""
    shards: tuple[Shard, ...]
    pictures: Mapping[str, Place | Fault]
    """By the file's name below the folder of the images."""

    def to_json(self) -> str:
        """Write it; equal lists give equal texts."""
        pictures = {
            name: [found.shard, found.row] if isinstance(found, Place) else asdict(found)
            for name, found in self.pictures.items()
        }
        shards = [asdict(shard) for shard in self.shards]
        content = {"shape": self.shape, "shards": shards, "pictures": pictures}
        return json.dumps(content, sort_keys=True)

    @property
    def digest(self) -> str:
        """Hash of the list, and so of all features in it: it names the file."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @staticmethod
    def from_json(text: str) -> "FeatureList":
        """Read what `to_json` wrote."""
        content = json.loads(text)
        patches, vision_hidden = content["shape"]
        return FeatureList(
            (patches, vision_hidden),
            tuple(Shard(**shard) for shard in content["shards"]),
            {
                name: Place(*found) if isinstance(found, list) else Fault(**found)
                for name, found in content["pictures"].items()
            },
        )


def name_of(path: AnyPath, folder: AnyPath) -> str:
    """Return a picture's name below its folder, which may lie elsewhere on another day."""
    return str(path).removeprefix(f"{str(folder).rstrip('/')}/")


class FeatureView:
    """The features of one list; pickled, it is its path alone."""

    def __init__(self, file: Path, *, cache: NodeCache) -> None:
        """Read the list.

        Args:
            file: `views/HASH.json` in the folder of the shards.
            cache: of the node where features are read.

        Raises:
            DataError: 66 if it is not on this node, 65 if it was changed.
        """
        self._file = file
        self._cache = cache
        self._list = FeatureList.from_json(_read_text(file))
        self.shape = self._list.shape
        most = len(self._list.shards) if cache.folder is None else _MAPPED_COPIES
        self._map = lru_cache(most)(self._map_shard)  # several threads may read

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the path: the list is read again where it arrives."""
        return _open_view, (self._file, self._cache)

    @property
    def num_bytes(self) -> int:
        """Bytes of one picture's features."""
        patches, vision_hidden = self.shape
        return patches * vision_hidden * FEATURE_DTYPE.itemsize

    def rows_per_block(self, *, at_most: int) -> int:
        """Return how many rows should travel together."""
        return max(1, min(at_most, _BLOCK_BYTES // self.num_bytes))

    def row(self, row_id: int, tokens: TokenRow, path: AnyPath, *, folder: AnyPath) -> Row:
        """Join tokens and the features of their picture, or say why it has none.

        Args:
            row_id: of the row.
            tokens: its ids and labels.
            path: of the picture.
            folder: of all pictures.

        Raises:
            DataError: if the list lacks the picture, or a shard is damaged (65) or missing (66).
        """
        found = self._list.pictures.get(name_of(path, folder))
        if found is None:
            raise DataError(
                f"{path} has no features in {self._file}. Expected those of every picture of the "
                "run: the data was changed since it was prepared. Start again."
            )
        if isinstance(found, Fault):
            detail = f"{path}: {found.detail}" if found.is_file else found.detail
            return bad_row(row_id, reason=found.reason, detail=detail)
        features = self._map(found.shard)[found.row]  # (patches * vision_hidden,)
        return Row(row_id, tokens.input_ids, tokens.labels, image_features=features.tobytes())

    def _map_shard(self, index: int) -> npt.NDArray[np.int16]:
        """Map a shard into memory: (pictures, patches * vision_hidden)."""
        shard = self._list.shards[index]
        path = self._file.parent.parent / shard.name
        try:
            with self._cache.open(path, sha256=shard.sha256) as file:
                rows = np.memmap(file, dtype=FEATURE_DTYPE, mode="r")
        except FileNotFoundError as error:
            raise _missing(path) from error
        expected = shard.num_rows * self.num_bytes
        if rows.nbytes != expected:
            raise DataError(
                f"{path} has {rows.nbytes} bytes. Expected {expected}: it was damaged. Start "
                "again: what is damaged is made anew."
            )
        return rows.reshape(shard.num_rows, -1)


def features_from_table(table: pa.Table, *, shape: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Stack the features of the rows that have any, in row order.

    Args:
        table: rows of ROW_SCHEMA.
        shape: (patches, vision_hidden).

    Returns:
        (images, patches, vision_hidden), the bits of bf16; no images give a first dimension of 0.
    """
    rows = [
        np.frombuffer(scalar.as_buffer(), dtype=FEATURE_DTYPE)
        for scalar in table["image_features"]
        if scalar.is_valid
    ]
    if not rows:
        return np.empty((0, *shape), dtype=FEATURE_DTYPE)
    return np.concatenate(rows).reshape(-1, *shape)  # (images, patches, vision_hidden)


def _open_view(file: Path, cache: NodeCache) -> FeatureView:
    return FeatureView(file, cache=cache)


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise _missing(file) from error
    if hashlib.sha256(data).hexdigest() != file.stem:
        raise DataError(
            f"{file} was changed: its name is no longer its hash. Delete it, and start again."
        )
    return data.decode()


def _missing(path: Path) -> DataError:
    return DataError(
        f"{path} is missing on node {socket.gethostname()}. Expected the feature cache under the "
        "same path on every node. Set data.feature_cache to a folder on shared storage, or start "
        "again if it was deleted.",
        exit_code=ExitCode.MISSING_INPUT,
    )
