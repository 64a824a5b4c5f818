"""Mapped files are opened once, and again when they change."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from phiray.data.cache import mapped
from phiray.data.cache.mapped import MappedFiles
from phiray.data.cache.node_cache import NodeCache
from phiray.errors import DataError

SEVENS = bytes([7, 0] * 8)
SHA256 = hashlib.sha256(SEVENS).hexdigest()


class CountingCache:
    """Counts what is opened through a cache."""

    def __init__(self, cache: NodeCache) -> None:
        self.folder = cache.folder
        self.opened: list[str] = []
        self._open = cache.open

    def open(self, source: Path, *, sha256: str) -> object:
        self.opened.append(source.name)
        return self._open(source, sha256=sha256)


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    file = tmp_path / "tokens.bin"
    file.write_bytes(SEVENS)
    return file


def counted(cache: NodeCache) -> tuple[MappedFiles, list[str]]:
    counting = CountingCache(cache)
    return MappedFiles(counting), counting.opened  # type: ignore[arg-type]  # stands in for it


@pytest.mark.parametrize("is_cached", [False, True])
def test_file_is_opened_once_and_again_when_it_changed(
    shard: Path, tmp_path: Path, is_cached: bool
) -> None:
    files, opened = counted(NodeCache(str(tmp_path / "node") if is_cached else None))
    for _ in range(3):
        assert files.map(shard, sha256=SHA256, dtype="uint16").tolist() == [7] * 8
    assert len(opened) == 1
    (copy,) = (tmp_path / "node").glob("*/*") if is_cached else [shard]
    copy.write_bytes(SEVENS if not is_cached else bytes(16))  # as damaged, or as written anew
    os.utime(copy, ns=(1, 1))
    assert files.map(shard, sha256=SHA256, dtype="uint16").tolist() == [7] * 8
    assert len(opened) == 2


def test_copy_that_had_to_make_room_is_fetched_again(shard: Path, tmp_path: Path) -> None:
    files, opened = counted(NodeCache(str(tmp_path / "node")))
    before = files.map(shard, sha256=SHA256, dtype="uint16")
    (copy,) = (tmp_path / "node").glob("*/*")
    copy.unlink()
    assert files.map(shard, sha256=SHA256, dtype="uint16").tolist() == before.tolist()
    assert copy.exists()
    assert len(opened) == 2


def test_copy_in_use_is_not_the_first_to_go(shard: Path, tmp_path: Path) -> None:
    files = MappedFiles(NodeCache(str(tmp_path / "node")))
    files.map(shard, sha256=SHA256, dtype="uint16")
    (copy,) = (tmp_path / "node").glob("*/*")
    os.utime(copy, ns=(0, copy.stat().st_mtime_ns))
    files.map(shard, sha256=SHA256, dtype="uint16")
    assert copy.stat().st_atime_ns > 0


def test_file_without_a_cache_keeps_its_times(shard: Path) -> None:
    files = MappedFiles(NodeCache())
    files.map(shard, sha256=SHA256, dtype="uint16")
    os.utime(shard, ns=(5, shard.stat().st_mtime_ns))
    files.map(shard, sha256=SHA256, dtype="uint16")
    assert shard.stat().st_atime_ns == 5


def test_what_was_mapped_first_goes_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "MAX_MAPPED", 2)
    files, opened = counted(NodeCache())
    for name in "abcca":
        (tmp_path / name).write_bytes(SEVENS)
        os.utime(tmp_path / name, ns=(1, 1))
        files.map(tmp_path / name, sha256=SHA256, dtype="uint16")
    assert opened == ["a", "b", "c", "a"]


def test_pickled_files_are_mapped_anew(shard: Path) -> None:
    files = MappedFiles(NodeCache())
    files.map(shard, sha256=SHA256, dtype="uint16")
    copy: MappedFiles = pickle.loads(pickle.dumps(files))
    found = copy.map(shard, sha256=SHA256, dtype="uint16")
    assert np.array_equal(found, [7] * 8)


def test_other_bytes_than_the_manifest_names_are_refused(shard: Path, tmp_path: Path) -> None:
    files = MappedFiles(NodeCache(str(tmp_path / "node")))
    with pytest.raises(DataError, match="is not the file that its manifest names"):
        files.map(shard, sha256="0" * 64, dtype="uint16")
