import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from phiray.features.known_files import KnownFiles
from phiray.features.shards import (
    SHARD_BYTES,
    Broken,
    Computed,
    pictures_per_shard,
    read_shards,
    remove_partial,
    write_shard,
)

NAMES = ["a" * 64, "b" * 64, "c" * 64]


def batches() -> Iterator[Computed]:
    yield Computed(np.full((2, 2, 3), 7, dtype=np.int16), {1: Broken("empty", "0 bytes")})
    yield Computed(np.full((1, 2, 3), 9, dtype=np.int16), {0: Broken("broken image", "cut")})


def read(folder: Path) -> list[object]:
    return list(read_shards(folder, known=KnownFiles(folder / "known")))


def test_a_shard_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = write_shard(tmp_path, NAMES, batches())
    assert read(tmp_path) == [written]
    assert written.pictures == tuple(NAMES)
    assert {row: found.reason for row, found in written.broken.items()} == {
        1: "empty",
        2: "broken image",
    }
    rows = np.fromfile(tmp_path / written.name, dtype="<i2").reshape(3, 2, 3)
    assert rows[:, 0, 0].tolist() == [7, 7, 9]


@pytest.mark.parametrize("harm", ["flip", "cut", "gone", "record", "renamed"])
def test_a_damaged_shard_is_not_there(tmp_path: Path, harm: str) -> None:
    record = write_shard(tmp_path, NAMES, batches())
    data, text = tmp_path / record.name, (tmp_path / record.name).with_suffix(".json")
    content = bytearray(data.read_bytes())
    match harm:
        case "flip":
            content[5] ^= 1
            data.write_bytes(content)
        case "cut":
            data.write_bytes(content[:-1])
        case "gone":
            data.unlink()
        case "record":
            text.write_bytes(text.read_bytes()[:-20])
        case "renamed":  # a list that is not the one of its name
            text.write_text(text.read_text().replace("a" * 64, "d" * 64))
    assert read(tmp_path) == []
    assert list(tmp_path.glob("*.json")) == []
    assert write_shard(tmp_path, NAMES, batches()) == record


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def full() -> Iterator[Computed]:
        yield next(batches())
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path, NAMES, full())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    record = write_shard(tmp_path, NAMES, batches())
    (tmp_path / ".partial-abc-12").write_bytes(b"half")
    remove_partial(tmp_path)
    assert read(tmp_path) == [record]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("picture_bytes", "wanted"), [(75_264, 864), (1_179_648, 32), (SHARD_BYTES, 32)]
)
def test_shards_hold_whole_batches(picture_bytes: int, wanted: int) -> None:
    assert pictures_per_shard(picture_bytes, batch=32) == wanted
