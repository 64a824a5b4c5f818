import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from phiray.data.cache.room import PROCESSES, CacheRoom

DISK_BYTES = 10_000
SIZE = 100


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Let the disk be small, and half full of other things."""
    found = SimpleNamespace(total=DISK_BYTES, free=DISK_BYTES // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: found)
    return found


def add_copy(folder: Path, number: int, *, num_bytes: int = SIZE) -> Path:
    """Write a copy that was last used at that second."""
    name = hashlib.sha256(str(number).encode()).hexdigest()
    path = folder / name[:3] / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(num_bytes))
    os.utime(path, (number, number))
    return path


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    copies = [add_copy(tmp_path, number) for number in range(10)]
    os.utime(copies[0], (20, 0))  # used again

    assert CacheRoom(tmp_path, max_bytes=1000).take(SIZE)

    # 900 of 1,000 bytes stay, the new ones among them
    assert [copy.exists() for copy in copies] == [True, False, False] + [True] * 7


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    copies = [add_copy(tmp_path, number) for number in range(9)]
    assert CacheRoom(tmp_path, max_bytes=1000).take(SIZE)
    assert all(copy.exists() for copy in copies)


def test_all_processes_together_keep_the_bound(tmp_path: Path) -> None:
    bound, num_bytes = 1500, 5  # a share is a few files: while it is used up, others write, too
    rooms = [CacheRoom(tmp_path, max_bytes=bound) for _ in range(PROCESSES // 2)]
    for number in range(400):
        assert rooms[number % len(rooms)].take(num_bytes)
        add_copy(tmp_path, number, num_bytes=num_bytes)
    assert sum(file.stat().st_size for file in tmp_path.glob("*/*")) <= bound


def test_a_file_larger_than_the_bound_drives_nothing_out(tmp_path: Path) -> None:
    copy = add_copy(tmp_path, 0)
    assert not CacheRoom(tmp_path, max_bytes=1000).take(1001)
    assert copy.exists()


def test_a_tenth_of_the_disk_stays_free(tmp_path: Path, disk: SimpleNamespace) -> None:
    room = CacheRoom(tmp_path, max_bytes=None)
    assert room.take(4000)
    assert not CacheRoom(tmp_path, max_bytes=None).take(4001)
    copy = add_copy(tmp_path, 0, num_bytes=500)
    disk.free = 500  # other things have grown
    assert CacheRoom(tmp_path, max_bytes=None).take(SIZE // 10) is False
    assert copy.exists()


def test_what_is_no_copy_stays(tmp_path: Path) -> None:
    other = [tmp_path / "mine" / "letter.txt", tmp_path / "photo.jpg"]
    other[0].parent.mkdir()
    for path in other:
        path.write_bytes(bytes(SIZE))
    copy = add_copy(tmp_path, 0, num_bytes=900)
    assert CacheRoom(tmp_path, max_bytes=1000).take(950)
    assert not copy.exists()
    assert all(path.exists() for path in other)
