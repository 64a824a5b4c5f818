"""Copies of a node: fetched once, verified, fetched again where damaged, never in the way."""

import errno
import hashlib
import io
import logging
import mmap
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest

from phiray.data.cache import node_cache
from phiray.data.cache.node_cache import NodeCache
from phiray.errors import DataError
from phiray.node import NODE_CACHE
from phiray.storage import AnyPath, UrlPath

DATA = b"bytes of a file"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _an_empty_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NODE_CACHE, raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=10**9))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "shared" / "000000000001.jpg"
    path.parent.mkdir()
    path.write_bytes(DATA)
    return path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect what is read from the storage."""
    sources: list[str] = []
    real = Path.open

    # Any: all that `Path.open` takes and gives.
    def counted(path: Path, *given: Any, **named: Any) -> Any:
        if path.parent.name == "shared":
            sources.append(str(path))
        return real(path, *given, **named)

    monkeypatch.setattr(Path, "open", counted)
    return sources


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the files that are hashed whole."""
    names: list[str] = []
    real = hashlib.file_digest

    # Any: `file_digest` has protocols of its own for files and algorithms.
    def counted(file: Any, name: str) -> object:
        names.append(str(getattr(file, "name", None)))
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return names


def cache_at(tmp_path: Path, *, max_gb: float | None = None) -> NodeCache:
    return NodeCache(str(tmp_path / "cache"), max_gb=max_gb)


def read(cache: NodeCache, source: AnyPath, *, sha256: str | None = None) -> bytes:
    with cache.open(source, sha256=sha256) as file:
        return file.read()


def copies(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").glob("*/*") if path.is_file())


def fill_disk(descriptor: int, data: memoryview) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_fetched_once_and_its_name_ends_in_its_hash(
    tmp_path: Path, source: Path, opened: list[str], sha256: str | None
) -> None:
    for cache in (cache_at(tmp_path), cache_at(tmp_path)):
        for _ in range(2):
            assert read(cache, source, sha256=sha256) == DATA
    assert opened == [str(source)]
    (copy,) = copies(tmp_path)
    assert copy.read_bytes() == DATA
    assert copy.name.endswith(SHA256)


def test_without_a_folder_nothing_is_copied(source: Path, opened: list[str]) -> None:
    cache = NodeCache()
    assert read(cache, source) == read(cache, source, sha256=SHA256) == DATA
    assert opened == [str(source)] * 2
    assert len(list(source.parent.parent.rglob("*"))) == 2  # the file and its folder


def test_a_url_is_fetched_through_fsspec(tmp_path: Path) -> None:
    url = "memory://test-node-cache/a.jpg"
    with fsspec.open(url, "wb") as file:
        file.write(DATA)
    cache = cache_at(tmp_path)
    assert read(cache, UrlPath(url)) == DATA
    fsspec.filesystem("memory").rm("/test-node-cache/a.jpg")
    assert read(cache, UrlPath(url)) == DATA
    assert len(copies(tmp_path)) == 1


def test_a_file_that_was_replaced_since_it_was_listed_is_fetched_as_it_is(tmp_path: Path) -> None:
    url = "memory://test-node-cache-replaced"
    with fsspec.open(f"{url}/a.jpg", "wb") as file:
        file.write(b"old")
    (listed,) = UrlPath(url).walk()
    with fsspec.open(f"{url}/a.jpg", "wb") as file:
        file.write(DATA)
    assert read(cache_at(tmp_path), listed) == DATA
    assert len(copies(tmp_path)) == 1


def test_a_pickled_cache_is_that_of_the_node_where_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(NodeCache("/run/folder", max_gb=3))
    monkeypatch.setenv(NODE_CACHE, str(tmp_path))
    arrived: NodeCache = pickle.loads(data)
    assert arrived.folder == tmp_path


@pytest.mark.parametrize("sha256", [None, SHA256])
@pytest.mark.parametrize("damage", [b"bytes of a fil3", b"bytes", b"", DATA + b"!"])
def test_a_damaged_copy_is_fetched_again_and_told_once(
    tmp_path: Path,
    source: Path,
    opened: list[str],
    caplog: pytest.LogCaptureFixture,
    sha256: str | None,
    damage: bytes,
) -> None:
    cache = cache_at(tmp_path)
    read(cache, source, sha256=sha256)
    (copy,) = copies(tmp_path)
    time.sleep(0.01)  # one tick of the clock of a file system
    copy.write_bytes(damage)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert read(cache, source, sha256=sha256) == DATA

    assert copies(tmp_path) == [copy]
    assert copy.read_bytes() == DATA
    assert opened == [str(source)] * 2
    assert cache.num_damaged == 1
    (record,) = caplog.records
    assert "event=node_cache_damaged" in record.getMessage()
    assert str(source) in record.getMessage()


def test_an_image_is_hashed_at_each_read_and_a_shard_once_in_a_process(
    tmp_path: Path, source: Path, hashed: list[str]
) -> None:
    cache = cache_at(tmp_path)
    for _ in range(3):
        read(cache, source)
    assert len(hashed) == 3
    for _ in range(3):
        read(cache, source, sha256=SHA256)
    assert len(hashed) == 4


def test_a_copy_that_the_disk_cannot_read_is_fetched_again(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_at(tmp_path)
    read(cache, source)
    left = [OSError(errno.EIO, "Input/output error")]
    real = hashlib.file_digest

    # Any: `file_digest` has protocols of its own for files and algorithms.
    def fails_once(file: Any, name: str) -> object:
        if left:
            raise left.pop()
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", fails_once)
    assert read(cache, source) == DATA
    assert cache.num_damaged == 1


def test_a_cache_on_a_disk_that_is_only_read_serves(
    tmp_path: Path, source: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(cache_at(tmp_path), source)

    # Any: all that `utime` takes.
    def refuse(*given: Any, **named: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert read(cache_at(tmp_path), source) == DATA
    assert opened == [str(source)]


def test_a_copy_that_cannot_be_looked_at_is_closed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_at(tmp_path)
    read(cache, source)
    looked_at: list[int] = []

    def refuse(descriptor: int) -> None:
        looked_at.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", refuse)
        file = cache.open(source)
    with file:
        assert file.read() == DATA
        assert file.name == str(source)
    assert len(looked_at) == 1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(looked_at[0])


def test_a_replaced_image_is_another_file(tmp_path: Path, source: Path) -> None:
    assert read(cache_at(tmp_path), source) == DATA
    source.write_bytes(DATA[::-1])
    os.utime(source, (1, 1))
    assert read(cache_at(tmp_path), source) == DATA[::-1]
    assert len(copies(tmp_path)) == 2


def test_a_file_that_is_not_on_the_storage_is_missing(tmp_path: Path) -> None:
    for sha256 in (None, SHA256):
        with pytest.raises(FileNotFoundError, match="nowhere") as caught:
            cache_at(tmp_path).open(Path("/nowhere/a.jpg"), sha256=sha256)
        assert caught.value.strerror == "No such file or directory"
    assert copies(tmp_path) == []


def test_a_shard_that_is_not_what_its_manifest_names_is_refused(
    tmp_path: Path, source: Path, opened: list[str]
) -> None:
    with pytest.raises(DataError, match="is not the file that its manifest names"):
        cache_at(tmp_path).open(source, sha256="0" * 64)
    assert len(opened) == node_cache.ATTEMPTS
    assert copies(tmp_path) == []


def tear(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Let the storage hand over half of a file, so many times."""
    left = [times]
    real = Path.open

    # Any: all that `Path.open` takes and gives.
    def torn(path: Path, *given: Any, **named: Any) -> Any:
        if path.parent.name != "shared" or left[0] == 0:
            return real(path, *given, **named)
        left[0] -= 1
        return io.BytesIO(DATA[:5])

    monkeypatch.setattr(Path, "open", torn)


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_torn_download_is_tried_again(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None
) -> None:
    tear(monkeypatch, times=1)
    assert read(cache_at(tmp_path), source, sha256=sha256) == DATA
    assert [copy.read_bytes() for copy in copies(tmp_path)] == [DATA]


def test_an_image_that_never_arrives_whole_cannot_be_read(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tear(monkeypatch, times=10)
    with pytest.raises(OSError, match="does not arrive with all its bytes"):
        cache_at(tmp_path).open(source)
    assert copies(tmp_path) == []


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_on_a_full_disk_the_storage_is_read_and_told_once(
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sha256: str | None,
) -> None:
    monkeypatch.setattr(os, "write", fill_disk)
    cache = cache_at(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert read(cache, source, sha256=sha256) == DATA
    assert copies(tmp_path) == []
    (record,) = caplog.records
    assert "event=node_cache_unusable" in record.getMessage()
    assert "No space left on device" in record.getMessage()


def test_on_a_full_disk_a_shard_is_verified_where_it_lies(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, hashed: list[str]
) -> None:
    monkeypatch.setattr(os, "write", fill_disk)
    cache = cache_at(tmp_path)
    for _ in range(3):
        assert read(cache, source, sha256=SHA256) == DATA
    assert hashed == [str(source)]
    source.write_bytes(DATA[::-1])
    os.utime(source, (1, 1))
    for _ in range(2):
        with pytest.raises(DataError, match="is not the file that its manifest names"):
            cache.open(source, sha256=SHA256)


def test_on_a_full_disk_a_shard_at_a_url_is_verified_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "write", fill_disk)
    url = "memory://test-node-cache/shard"
    cache = cache_at(tmp_path)
    for data in (DATA, DATA, DATA[::-1]):
        with fsspec.open(url, "wb") as file:
            file.write(data)
        if data == DATA:
            assert read(cache, UrlPath(url), sha256=SHA256) == DATA
    with pytest.raises(DataError, match="is not the file that its manifest names"):
        cache.open(UrlPath(url), sha256=SHA256)


def test_a_full_disk_is_tried_again_later(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_at(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_disk)
        read(cache, source)
    read(cache, source)
    assert copies(tmp_path) == []
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + node_cache.REST_SECONDS)
    assert read(cache, source) == DATA
    assert len(copies(tmp_path)) == 1


def test_a_folder_that_cannot_be_made_is_no_reason_to_stop(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    cache = NodeCache(str(file / "cache"))
    assert "Not a directory" in str(cache.fault())
    assert read(cache, source) == DATA
    assert "event=node_cache_unusable" in caplog.text
    for usable in (NodeCache(), cache_at(tmp_path)):
        assert usable.fault() is None


def test_the_folder_is_made_for_this_user_alone(tmp_path: Path, source: Path) -> None:
    read(cache_at(tmp_path), source)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_in_which_others_can_write_is_refused(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    read(cache_at(tmp_path), source)
    (copy,) = copies(tmp_path)
    forged = b"what another user put there"
    copy.unlink()
    name = f"{copy.name[: node_cache._KEY_LENGTH]}-{hashlib.sha256(forged).hexdigest()}"
    copy.with_name(name).write_bytes(forged)
    (tmp_path / "cache").chmod(mode)
    cache = cache_at(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert read(cache, source) == DATA
    (record,) = caplog.records
    assert f"its mode is {mode:04o}" in record.getMessage()


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    user = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert read(cache_at(tmp_path), source) == DATA
    assert copies(tmp_path) == []
    assert f"but user {user} must be the only one" in caplog.text


def test_a_file_larger_than_the_bound_is_read_from_the_storage(
    tmp_path: Path, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache_at(tmp_path, max_gb=(len(DATA) - 1) / node_cache.GB)
    assert read(cache, source, sha256=SHA256) == DATA
    assert copies(tmp_path) == []
    assert f"no room for {len(DATA)} bytes" in caplog.text


def test_what_is_mapped_is_read_on_when_its_copy_makes_room(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}").write_bytes(bytes([number]) * 1000)
    cache = cache_at(tmp_path, max_gb=2000 / node_cache.GB)
    with cache.open(folder / "0") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    first = copies(tmp_path)[0]
    for number in (1, 2, 3):
        assert read(cache, folder / f"{number}") == bytes([number]) * 1000
    assert not first.exists()
    assert mapped[:] == bytes(1000)
    mapped.close()


def test_many_readers_at_once_fetch_a_file_once(
    tmp_path: Path, source: Path, opened: list[str]
) -> None:
    barrier = threading.Barrier(8)

    def fetch() -> bytes:
        cache = cache_at(tmp_path)
        barrier.wait()
        return read(cache, source, sha256=SHA256)

    with ThreadPoolExecutor(8) as threads:
        found = [result.result() for result in [threads.submit(fetch) for _ in range(8)]]

    assert found == [DATA] * 8
    assert opened == [str(source)]


def test_processes_that_fetch_and_make_room_at_once_read_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}").write_bytes(bytes([number]) * 1000)
    code = f"""
from pathlib import Path
from phiray.data.cache.node_cache import GB, NodeCache
cache = NodeCache({str(tmp_path / "cache")!r}, max_gb=8000 / GB)
for turn in range(10):
    for path in sorted(Path({str(folder)!r}).iterdir()):
        with cache.open(path) as file:
            assert file.read() == path.read_bytes()
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    for copy in copies(tmp_path):
        assert hashlib.sha256(copy.read_bytes()).hexdigest() == copy.name[-64:]
    assert sum(copy.stat().st_size for copy in copies(tmp_path)) <= 8000
