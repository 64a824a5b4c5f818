from pathlib import Path

import pytest

from phiray.config.data import ImageDataConfig
from phiray.data.feature_view import name_of
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.errors import DataError
from phiray.models.interface import FeatureTower
from phiray.stages.images import image_ledger, prepare_image_rows
from tests.image_builders import NUM_PATCHES, BuildRows, with_text_rows, write_image_world

ROWS = [caption_rows, conversation_rows]


def no_tower() -> FeatureTower:
    raise AssertionError("the tower is read only for a cache of its features")


def config_of(folder: Path, *, max_length: int = 400) -> ImageDataConfig:
    world = write_image_world(folder)
    return ImageDataConfig.model_validate({**world.model_dump(), "max_length": max_length})


@pytest.mark.parametrize("kind", ROWS)
def test_whole_rows_are_told_by_what_they_are(tmp_path: Path, kind: BuildRows) -> None:
    config = config_of(tmp_path)
    rows = kind(config, num_patches=NUM_PATCHES, seed=0)
    prepared = prepare_image_rows(rows, config, validation=None, load_tower=no_tower, progress=None)
    assert prepared.fingerprint == rows.fingerprint
    assert prepared.quick_fingerprint == rows.quick_fingerprint
    assert prepared.counts["rows"] == rows.num_rows > 0
    assert prepared.pictures is not None
    assert prepared.pictures.load_tower is no_tower
    found = {
        str(path.relative_to(str(prepared.pictures.folder))) for path in tmp_path.rglob("*.jpg")
    }
    assert found >= {name_of(path, prepared.pictures.folder) for path in prepared.pictures.paths}
    assert len(set(prepared.pictures.paths)) == prepared.counts["images"]


def test_texts_alone_need_no_pictures(tmp_path: Path) -> None:
    mixed = with_text_rows(config_of(tmp_path), 30)
    config = mixed.model_copy(update={"conversations": mixed.conversations[1:]})
    rows = conversation_rows(config, num_patches=NUM_PATCHES, seed=0)
    prepared = prepare_image_rows(rows, config, validation=None, load_tower=no_tower, progress=None)
    assert prepared.images == {}
    assert image_ledger(rows) == {"image": [], "document": rows.text_ids}
    assert prepared.counts["rows without an image"] == rows.num_rows > 10


@pytest.mark.parametrize("kind", ROWS)
def test_broken_pictures_are_refused(tmp_path: Path, kind: BuildRows) -> None:
    config = config_of(tmp_path)
    for picture in tmp_path.rglob("*.jpg"):
        picture.write_bytes(b"no picture")
    rows = kind(config, num_patches=NUM_PATCHES, seed=0)
    with pytest.raises(DataError, match="pictures that were looked at cannot be used"):
        prepare_image_rows(rows, config, validation=None, load_tower=no_tower, progress=None)


@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, kind: BuildRows) -> None:
    config = config_of(tmp_path, max_length=8)
    rows = kind(config, num_patches=NUM_PATCHES, seed=0)
    with pytest.raises(DataError, match=r"data\.max_length is .* take more tokens"):
        prepare_image_rows(rows, config, validation=None, load_tower=no_tower, progress=None)


def test_validation_rows_are_looked_at_and_told_apart_as_well(tmp_path: Path) -> None:
    config = config_of(tmp_path / "a")
    rows = caption_rows(config, num_patches=NUM_PATCHES, seed=0)
    other = caption_rows(config_of(tmp_path / "b"), num_patches=NUM_PATCHES, seed=0)
    prepared = prepare_image_rows(
        rows, config, validation=other, load_tower=no_tower, progress=None
    )
    assert prepared.fingerprint == f"{rows.fingerprint}+{other.fingerprint}"
    assert prepared.quick_fingerprint == f"{rows.quick_fingerprint}+{other.quick_fingerprint}"
    for picture in (tmp_path / "b").rglob("*.jpg"):
        picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match="pictures that were looked at cannot be used"):
        prepare_image_rows(rows, config, validation=other, load_tower=no_tower, progress=None)
