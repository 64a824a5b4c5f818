import hashlib
import os
import time
from pathlib import Path

import fsspec
import pytest

from phiray.features import known_files
from phiray.features.known_files import KnownFiles
from phiray.storage import AnyPath, UrlPath


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the files that are read."""
    found: list[int] = []
    original = hashlib.file_digest

    def count(file: object, digest: str) -> object:
        found.append(1)
        return original(file, digest)  # type: ignore[arg-type]  # as it was given

    monkeypatch.setattr(hashlib, "file_digest", count)
    return found


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be old enough to be remembered, without waiting."""
    monkeypatch.setattr(known_files, "RACY_SECONDS", -1.0)


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_also_by_later_processes(tmp_path: Path, reads: list[int]) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    known = KnownFiles(tmp_path / "known.json")
    assert [known.hash_of(file) for _ in range(3)] == [sha(b"one")] * 3
    known.save()
    assert KnownFiles(tmp_path / "known.json").hash_of(file) == sha(b"one")
    assert len(reads) == 1


@pytest.mark.usefixtures("settled")
def test_other_bytes_of_the_same_size_with_the_old_date_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    known = KnownFiles(tmp_path / "known.json")
    known.hash_of(file)
    before = file.stat()
    time.sleep(0.05)  # beyond the tick of the file system's clock
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert after.st_ino == before.st_ino
    assert known.hash_of(file) == sha(b"two")


@pytest.mark.usefixtures("settled")
def test_another_file_under_the_same_name_is_seen(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    known = KnownFiles(tmp_path / "known.json")
    known.hash_of(file)
    os.utime(other, ns=(0, file.stat().st_mtime_ns))
    other.replace(file)
    assert known.hash_of(file) == sha(b"two")


def test_a_file_of_this_moment_is_not_trusted(tmp_path: Path, reads: list[int]) -> None:
    file = tmp_path / "a"
    known = KnownFiles(tmp_path / "known.json")
    file.write_bytes(b"one")
    known.hash_of(file)
    file.write_bytes(b"two")  # perhaps within one tick of the file system's clock
    assert known.hash_of(file) == sha(b"two")
    assert len(reads) == 2
    known.save()
    assert not (tmp_path / "known.json").exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("content", [b"no json", b"[1]", b'{"a": 3}'])
def test_a_broken_memory_is_forgotten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "known.json").write_bytes(content)
    (tmp_path / "a").write_bytes(b"one")
    known = KnownFiles(tmp_path / "known.json")
    assert known.hash_of(tmp_path / "a") == sha(b"one")
    known.save()
    assert sha(b"one") in (tmp_path / "known.json").read_text()


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        KnownFiles(tmp_path / "known.json").hash_of(tmp_path / "a")


def test_a_file_at_a_url_is_known_by_its_version(reads: list[int]) -> None:
    fsspec.filesystem("memory").pipe("/features-known/a", b"one")
    path: AnyPath = UrlPath("memory://features-known/a")
    known = KnownFiles(Path("nowhere"))
    assert known.hash_of(path) == known.hash_of(path) == sha(b"one")
    assert len(reads) == 1
    fsspec.filesystem("memory").pipe("/features-known/a", b"two")
    assert known.hash_of(path) == sha(b"two")


def test_a_file_at_a_url_without_a_version_is_read_each_time(
    reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phiray.storage._VERSION_KEYS", ())
    fsspec.filesystem("memory").pipe("/features-known/b", b"one")
    known = KnownFiles(Path("nowhere"))
    for _ in range(2):
        assert known.hash_of(UrlPath("memory://features-known/b")) == sha(b"one")
    assert len(reads) == 2
