"""From settings to rows: which examples of a data set a part has."""

import json
from pathlib import Path

import pytest

from phiray.config.data import ImageDataConfig
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.data.sources.coco import CaptionedImage
from phiray.data.split import image_key, is_heldout, part_of
from phiray.errors import DataError, ExitCode
from tests.image_builders import NUM_IMAGES, NUM_PATCHES, with_text_rows, write_image_world


@pytest.fixture
def config(tmp_path: Path) -> ImageDataConfig:
    split = {"heldout_fraction": 0.4}
    world = write_image_world(tmp_path)
    return ImageDataConfig.model_validate({**world.model_dump(), "max_length": 400, "split": split})


def rows_of(config: ImageDataConfig, **options: object) -> ImageRows[CaptionedImage]:
    settings = {"num_patches": NUM_PATCHES, "seed": 0, **options}
    return caption_rows(config, **settings)  # type: ignore[arg-type]  # options of the tests


def with_settings(config: ImageDataConfig, **settings: object) -> ImageDataConfig:
    return ImageDataConfig.model_validate({**config.model_dump(), **settings})


def test_parts_divide_the_images_by_id(config: ImageDataConfig) -> None:
    train = rows_of(config)
    heldout = rows_of(config, part="heldout")

    assert sorted(train.image_ids + heldout.image_ids) == list(range(1, NUM_IMAGES + 1))
    assert heldout.image_ids == [
        image_id
        for image_id in range(1, NUM_IMAGES + 1)
        if is_heldout(
            image_key(image_id),
            salt=config.split.salt,
            heldout_fraction=config.split.heldout_fraction,
        )
    ]
    assert heldout.image_ids


def test_both_stages_hold_out_the_same_images(config: ImageDataConfig) -> None:
    conversations = conversation_rows(config, num_patches=NUM_PATCHES, seed=0, part="heldout")

    assert conversations.image_ids == rows_of(config, part="heldout").image_ids


def test_max_images_chooses_train_images_by_seed(config: ImageDataConfig) -> None:
    small = with_settings(config, max_images=3)
    choices = [tuple(rows_of(small, seed=seed).image_ids) for seed in range(8)]

    assert {len(choice) for choice in choices} == {3}
    assert len(set(choices)) > 1
    assert choices[0] == tuple(rows_of(small, seed=0).image_ids)
    assert len(rows_of(small, part="heldout").image_ids) > 3


def test_texts_without_an_image_are_split_by_their_hash(config: ImageDataConfig) -> None:
    mixed = with_text_rows(config, 30)
    parts = [
        conversation_rows(mixed, num_patches=NUM_PATCHES, seed=0, part=part)
        for part in ("train", "heldout")
    ]
    texts = [[row for row in part.examples if row.path is None] for part in parts]

    assert [len(found) for found in texts] == [len(part.text_ids) for part in parts]
    assert sum(len(found) for found in texts) == 30
    assert 3 < len(texts[1]) < 25  # of a held-out share of 0.4
    assert all(part_of(row.key, mixed.split) == "heldout" for row in texts[1])
    assert parts[0].counts["rows without an image"] == len(texts[0])
    images = conversation_rows(config, num_patches=NUM_PATCHES, seed=0)
    assert parts[0].image_ids == images.image_ids


def test_max_images_leaves_texts_alone(config: ImageDataConfig) -> None:
    mixed = with_settings(with_text_rows(config, 30), max_images=2)
    rows = conversation_rows(mixed, num_patches=NUM_PATCHES, seed=0)
    whole = conversation_rows(with_text_rows(config, 30), num_patches=NUM_PATCHES, seed=0)

    assert len(rows.image_ids) == 2
    assert rows.text_ids == whole.text_ids


def test_too_many_bad_records_stop_the_run(config: ImageDataConfig) -> None:
    file = Path(config.root) / config.annotations[0]
    content = json.loads(file.read_text())
    content["annotations"][0]["caption"] = " "
    file.write_text(json.dumps(content))

    with pytest.raises(DataError, match=r"1 of 24 records .*empty caption"):
        rows_of(config)
    assert (
        rows_of(with_settings(config, max_bad_fraction=0.1)).counts["left out: empty caption"] == 1
    )


def test_an_empty_part_is_refused(config: ImageDataConfig) -> None:
    nearly_none = with_settings(config, split={"heldout_fraction": 1e-9})

    with pytest.raises(DataError, match="heldout part has 0 of 12 images"):
        rows_of(nearly_none, part="heldout")


def test_validation_images_are_no_training_images(config: ImageDataConfig) -> None:
    split = {"heldout_fraction": 0.4, "validation_fraction": 0.3}
    with_it = with_settings(config, split=split)
    validation = rows_of(with_it, part="validation").image_ids
    assert validation
    assert rows_of(with_it, part="heldout").image_ids == rows_of(config, part="heldout").image_ids
    rest = sorted([*validation, *rows_of(with_it).image_ids])
    assert rest == sorted(rows_of(config).image_ids)


def test_a_missing_folder_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="None of the 4 files") as caught:
        rows_of(ImageDataConfig(root=str(tmp_path / "nothing")))

    assert caught.value.exit_code == ExitCode.MISSING_INPUT
