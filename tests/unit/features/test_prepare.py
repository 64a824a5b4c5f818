import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from phiray.data.feature_view import FeatureList, Place
from phiray.errors import DataError, ExitCode
from phiray.features import compute, known_files, prepare, shards
from phiray.features.prepare import KNOWN_FILES
from phiray.images import decode, transform
from phiray.models import clip
from phiray.models.clip import ClipTower
from tests.feature_builders import build_tower, rounded, write_pictures
from tests.feature_builders import prepare as prepare_all

NUMBER = 12


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path / "images", NUMBER)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pictures a shard, in batches of two."""
    monkeypatch.setattr(prepare, "BATCH", 2)
    monkeypatch.setattr(compute, "BATCH", 2)
    monkeypatch.setattr(shards, "SHARD_BYTES", 4 * 4 * 32 * 2)


def stored(file: Path, name: str) -> torch.Tensor:
    """Read the features of a picture by the list alone: (patches, vision_hidden) bf16."""
    listed = FeatureList.from_json(file.read_text())
    place = listed.pictures[name]
    assert isinstance(place, Place)
    rows = np.fromfile(file.parent.parent / listed.shards[place.shard].name, dtype="<i2")
    found = torch.from_numpy(rows.reshape(-1, *listed.shape)[place.row].astype(np.int16))
    return found.view(torch.bfloat16)


def all_bytes(cache: Path) -> dict[str, bytes]:
    """Read all files of a cache but the memory of hashes, which holds times."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.name not in {KNOWN_FILES, "lock"}
    }


@pytest.mark.usefixtures("small_shards")
def test_every_picture_has_its_features(paths: list[Path], cache: Path, tower: ClipTower) -> None:
    told: list[tuple[str, int, int]] = []
    notes: list[str] = []
    found = prepare_all(
        paths, tower, cache, progress=lambda *step: told.append(step), note=notes.append
    )
    assert (found.num_pictures, found.num_computed) == (NUMBER, NUMBER)
    for path in paths:
        wanted = rounded(tower, path.read_bytes())
        torch.testing.assert_close(stored(found.file, path.name), wanted, rtol=2**-7, atol=0)
    assert [step for step in told if step[0] == "CLIP features"][-1] == (
        "CLIP features",
        NUMBER,
        NUMBER,
    )
    assert len(notes) == 1
    assert f"12 of 12 pictures have no features yet. They take 3.07 kB in {cache}" in notes[0]


@pytest.mark.usefixtures("small_shards")
def test_a_second_time_nothing_is_computed(
    paths: list[Path], cache: Path, tower: ClipTower
) -> None:
    first = prepare_all(paths, tower, cache)
    before = all_bytes(cache)
    notes: list[str] = []
    again = prepare_all(paths, tower, cache, note=notes.append)
    assert (again.file, again.num_computed, notes) == (first.file, 0, [])
    assert all_bytes(cache) == before


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("num_done", [0, 1, 2])
def test_an_interrupted_preparation_goes_on_and_ends_with_the_same_bytes(
    paths: list[Path],
    cache: Path,
    tower: ClipTower,
    tmp_path: Path,
    num_done: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare_all(paths, tower, tmp_path / "whole")
    original = shards.write_shard
    done: list[int] = []

    def cut(*args: object) -> object:
        if len(done) == num_done:
            raise KeyboardInterrupt("now")
        done.append(1)
        return original(*args)  # type: ignore[arg-type]  # as they were given

    monkeypatch.setattr(prepare, "write_shard", cut)
    with pytest.raises(KeyboardInterrupt, match="now"):
        prepare_all(paths, tower, cache)
    monkeypatch.setattr(prepare, "write_shard", original)
    again = prepare_all(paths, tower, cache)
    assert again.num_computed == NUMBER - 4 * num_done
    assert all_bytes(cache) == all_bytes(tmp_path / "whole")


def test_another_tower_or_pooling_is_another_cache(
    paths: list[Path], cache: Path, tower: ClipTower, tmp_path: Path
) -> None:
    first = prepare_all(paths, tower, cache)
    for name, other in {
        "weights": build_tower(tmp_path / "weights", seed=2),
        "pooling": build_tower(tmp_path / "pooling", pooling=2),
    }.items():
        found = prepare_all(paths, other, cache)
        assert found.num_computed == NUMBER, name
        assert found.file.parent != first.file.parent
        wanted = rounded(other, paths[0].read_bytes())
        torch.testing.assert_close(stored(found.file, paths[0].name), wanted, rtol=2**-7, atol=0)
    assert prepare_all(paths, tower, cache).num_computed == 0


def test_another_layer_is_another_cache(
    paths: list[Path], cache: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_all(paths, tower, cache)
    monkeypatch.setattr(clip, "FEATURE_LAYER", -1)
    found = prepare_all(paths, tower, cache)
    assert found.num_computed == NUMBER
    wanted = rounded(tower, paths[0].read_bytes())
    torch.testing.assert_close(stored(found.file, paths[0].name), wanted, rtol=2**-7, atol=0)


def test_another_transform_is_another_cache(
    paths: list[Path], cache: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_all(paths, tower, cache)
    original = transform.resize_and_crop
    monkeypatch.setattr(
        decode, "resize_and_crop", lambda pixels, **size: original(pixels, **size).flip(-1)
    )
    assert prepare_all(paths, tower, cache).num_computed == NUMBER


def test_other_bytes_of_the_same_size_under_the_same_name_are_computed(
    paths: list[Path], cache: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "RACY_SECONDS", -1.0)
    one, other = (path.read_bytes() for path in paths[:2])
    length = max(len(one), len(other))  # what follows the end of a JPEG is ignored
    paths[0].write_bytes(one.ljust(length, b"\0"))
    first = prepare_all(paths, tower, cache)
    paths[0].write_bytes(other.ljust(length, b"\0"))
    found = prepare_all(paths, tower, cache)
    assert found.file != first.file
    wanted = stored(found.file, paths[1].name)
    torch.testing.assert_close(stored(found.file, paths[0].name), wanted, rtol=2**-7, atol=0)
    assert not torch.equal(stored(first.file, paths[0].name), wanted)


@pytest.mark.usefixtures("small_shards")
def test_equal_pictures_are_computed_once_and_new_ones_alone(
    paths: list[Path], cache: Path, tower: ClipTower
) -> None:
    copy = paths[0].with_name("999999999999.jpg")
    shutil.copy(paths[0], copy)
    assert prepare_all([*paths[:5], copy], tower, cache).num_computed == 5
    assert prepare_all(paths, tower, cache).num_computed == NUMBER - 5
    found = prepare_all([*paths, copy], tower, cache)
    assert found.num_computed == 0
    assert torch.equal(stored(found.file, copy.name), stored(found.file, paths[0].name))


@pytest.mark.usefixtures("small_shards")
def test_a_damaged_shard_is_made_again_bit_for_bit(
    paths: list[Path], cache: Path, tower: ClipTower
) -> None:
    first = prepare_all(paths, tower, cache)
    before = all_bytes(cache)
    shard = next(cache.rglob("*.bin"))
    content = bytearray(shard.read_bytes())
    content[9] ^= 1
    shard.write_bytes(content)
    again = prepare_all(paths, tower, cache)
    assert (again.file, again.num_computed) == (first.file, 4)
    assert all_bytes(cache) == before


def test_features_that_something_else_made_are_refused(
    paths: list[Path], cache: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a change of code that changes what the tower computes, but not what it says."""
    prepare_all(paths, tower, cache)
    original = ClipTower.forward
    monkeypatch.setattr(ClipTower, "forward", lambda self, pixels: original(self, pixels).flip(1))
    with pytest.raises(DataError, match=r"differ from what the tower computes by .* delete that"):
        prepare_all(paths, tower, cache)


def test_bad_pictures_are_listed_with_their_reasons(
    paths: list[Path], cache: Path, tower: ClipTower
) -> None:
    paths[2].write_bytes(b"no picture")
    paths[4].unlink()
    found = prepare_all(paths, tower, cache, max_bad_fraction=0.2)
    assert found.num_pictures == NUMBER - 2
    pictures = json.loads(found.file.read_text())["pictures"]
    assert pictures[paths[2].name]["reason"] == "not an image"
    assert pictures[paths[4].name] == {
        "reason": "missing image",
        "detail": "No such file or directory",
        "is_file": True,
    }
    match = r"2 of 12 pictures cannot be used \(1 not an image, 1 missing image\)"
    with pytest.raises(DataError, match=match) as caught:
        prepare_all(paths, tower, cache, max_bad_fraction=0.1)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_a_disk_without_room_is_told_of_before_it_starts(
    paths: list[Path], cache: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3000))
    monkeypatch.setattr(prepare, "write_shard", None)
    match = r"The features of 12 pictures take 3\.07 kB, but .* has 3 kB free.*data\.feature_cache"
    with pytest.raises(DataError, match=match) as caught:
        prepare_all(paths, tower, cache)
    assert caught.value.exit_code == ExitCode.IO


def test_a_disk_that_fills_up_meanwhile_says_so(
    paths: list[Path], cache: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepare, "write_shard", full)
    match = r"cannot be written: No space left on device.*data\.feature_cache"
    with pytest.raises(DataError, match=match) as caught:
        prepare_all(paths, tower, cache)
    assert caught.value.exit_code == ExitCode.IO


def test_a_file_in_the_way_says_so(paths: list[Path], cache: Path, tower: ClipTower) -> None:
    cache.write_text("a file")
    with pytest.raises(DataError, match="a file is in its way") as caught:
        prepare_all(paths, tower, cache)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
