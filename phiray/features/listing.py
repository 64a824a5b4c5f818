"""What a run needs of the cache: of each picture its hash, and with it the place of its features.

Limits: a picture that cannot be read has no hash, and is looked for again at each start.
"""

from collections.abc import Sequence

from phiray.data.feature_view import Fault, FeatureList, Place, Shard, name_of
from phiray.data.prefetch import prefetch_in_order
from phiray.features.known_files import KnownFiles
from phiray.features.shards import Record
from phiray.storage import AnyPath
from phiray.types import Progress

SHARDS = "shards"
"""Folder of the shards, beside that of the lists."""
HASH_THREADS = 8
"""Files read at once: storage that is far away answers each of them late."""
CHUNK = 32
"""Pictures that a thread takes at once: to hand over each of them would cost more than to look."""

Hashes = dict[AnyPath, str | Fault]
"""Of each picture its sha256, or why it cannot be read."""


def hash_pictures(
    paths: Sequence[AnyPath], *, known: KnownFiles, progress: Progress | None
) -> Hashes:
    """Find the hash of each picture, reading only what may have changed."""

    def look(path: AnyPath) -> str | Fault:
        try:
            return known.hash_of(path)
        except OSError as error:
            reason = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            return Fault(f"{reason} image", str(error.strerror or error), is_file=True)

    def look_at_all(some: Sequence[AnyPath]) -> Hashes:
        return {path: look(path) for path in some}

    found: Hashes = {}
    chunks = (paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK))
    for hashes in prefetch_in_order(look_at_all, chunks, num_threads=HASH_THREADS):
        found |= hashes
        if progress is not None:
            progress("hash pictures", len(found), len(paths))
    return found


def list_features(
    hashes: Hashes, records: Sequence[Record], *, folder: AnyPath, shape: tuple[int, int]
) -> FeatureList:
    """List the place of each picture, naming only the shards that hold one of them.

    Args:
        hashes: of the pictures.
        records: of shards that together hold each of them.
        folder: of the pictures.
        shape: (patches, vision_hidden) of one picture.
    """
    places: dict[str, tuple[Record, int]] = {}
    for record in records:
        for row, picture in enumerate(record.pictures):
            places.setdefault(picture, (record, row))
    shards: dict[str, tuple[int, Shard]] = {}
    pictures: dict[str, Place | Fault] = {}
    for path, found in hashes.items():
        name = name_of(path, folder)
        if isinstance(found, Fault):
            pictures[name] = found
            continue
        record, row = places[found]
        if row in record.broken:
            broken = record.broken[row]
            pictures[name] = Fault(broken.reason, broken.detail, is_file=False)
            continue
        shard = Shard(f"{SHARDS}/{record.name}", len(record.pictures), record.sha256)
        index, _ = shards.setdefault(record.name, (len(shards), shard))
        pictures[name] = Place(index, row)
    listed = tuple(shard for _, shard in shards.values())
    return FeatureList(shape, listed, pictures)
