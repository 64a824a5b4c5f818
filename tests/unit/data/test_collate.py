from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from phiray.config.data import ImageDataConfig
from phiray.data.collate import collate, collate_step
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows
from phiray.data.pixels import decode_table
from phiray.data.row_packing import NO_POSITION
from phiray.data.rows import FILLER, Row, bad_row, table_from_rows
from phiray.data.sources.coco import CaptionedImage
from phiray.images.decode import decode_image
from phiray.types import FILLER_ROW, IGNORE_INDEX, BadRow
from tests.image_builders import IMAGE_SIZE, NUM_PATCHES, encoded_image, write_image_world
from tests.step_reader import read_steps

PAD = 99


@pytest.fixture
def rows(tmp_path: Path) -> ImageRows[CaptionedImage]:
    return caption_rows(write_image_world(tmp_path), num_patches=NUM_PATCHES, seed=0)


def image_table() -> pa.Table:
    rows = [
        Row(5, range(1, 10), [IGNORE_INDEX] * 4 + list(range(5, 10)), image=encoded_image(5)),
        Row(6, [1, 2], [1, 2], image=encoded_image(6)[:200]),
        FILLER,
        Row(7, [1, 2, 3], [IGNORE_INDEX, 2, 3], image=encoded_image(7)),
    ]
    return decode_table(table_from_rows(rows), image_size=IMAGE_SIZE)


def test_collate_pads_at_the_right_to_a_multiple() -> None:
    batch, _ = collate(image_table(), pad_id=PAD, image_size=IMAGE_SIZE)

    assert batch["input_ids"].shape == (4, 16)
    assert batch["input_ids"][0].tolist() == [*range(1, 10), *[PAD] * 7]
    assert batch["labels"][3].tolist() == [IGNORE_INDEX, 2, 3, *[IGNORE_INDEX] * 13]
    assert batch["attention_mask"].sum(dim=1).tolist() == [9, 0, 0, 3]
    assert batch["attention_mask"].dtype == batch["input_ids"].dtype == torch.int64


def test_collate_weighs_bad_and_filler_rows_with_zero() -> None:
    batch, bad = collate(image_table(), pad_id=PAD, image_size=IMAGE_SIZE)

    assert batch["loss_weights"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert batch["row_ids"].tolist() == [5, 6, FILLER_ROW, 7]
    assert bool((batch["labels"][1:3] == IGNORE_INDEX).all())
    assert bool((batch["input_ids"][1:3] == PAD).all())
    assert [(row.row_id, row.reason) for row in bad] == [(6, "truncated image")]


def test_collate_keeps_pixels_in_step_with_rows() -> None:
    batch, _ = collate(image_table(), pad_id=PAD, image_size=IMAGE_SIZE)

    expected = [decode_image(encoded_image(seed), image_size=IMAGE_SIZE) for seed in (5, 7)]
    assert torch.equal(batch["pixel_values"], torch.from_numpy(np.stack(expected)))


def test_collate_without_images_keeps_pixels_only_for_image_data() -> None:
    table = table_from_rows([FILLER, bad_row(3, reason="too long", detail="x")])

    text, bad = collate(table, pad_id=PAD, image_size=None)
    images, _ = collate(table, pad_id=PAD, image_size=IMAGE_SIZE)

    assert "pixel_values" not in text
    assert images["pixel_values"].shape == (0, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert text["input_ids"].shape == (2, 8)
    assert bad == [BadRow(3, "too long", "x")]


def test_collate_step_cuts_micro_batches_in_order() -> None:
    step = collate_step(image_table(), accumulation=2, pad_id=PAD, image_size=IMAGE_SIZE)

    assert [batch["row_ids"].tolist() for batch in step.micro_batches] == [[5, 6], [FILLER_ROW, 7]]
    assert [batch["pixel_values"].shape[0] for batch in step.micro_batches] == [1, 1]
    assert [row.row_id for row in step.bad_rows] == [6]


def test_collate_does_not_depend_on_how_a_table_is_chunked() -> None:
    table = image_table()
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 3)])

    whole, _ = collate(table, pad_id=PAD, image_size=IMAGE_SIZE)
    parts, _ = collate(chunked, pad_id=PAD, image_size=IMAGE_SIZE)

    torch.testing.assert_close(dict(parts), dict(whole), rtol=0, atol=0)


def test_collate_packs_without_changing_what_is_by_row() -> None:
    alone, _ = collate(image_table(), pad_id=PAD, image_size=IMAGE_SIZE)
    packed, _ = collate(image_table(), pad_id=PAD, image_size=IMAGE_SIZE, max_packed_length=64)

    index = packed.pop("packed_index")
    torch.testing.assert_close(dict(packed), dict(alone), rtol=0, atol=0)
    # 9 and 3 tokens; the row that could not be read and the filler have no place
    assert index.tolist() == [[*range(9), *range(3 * 16, 3 * 16 + 3), *[NO_POSITION] * 4]]


def test_collate_packs_rows_without_any_token() -> None:
    table = table_from_rows([FILLER, FILLER])
    packed, _ = collate(table, pad_id=PAD, image_size=None, max_packed_length=64)
    assert packed["packed_index"].tolist() == [[NO_POSITION] * 8]


def test_steps_hold_the_planned_rows(rows: ImageRows[CaptionedImage]) -> None:
    positions = np.arange(12).reshape(3, 2, 2)
    positions[2, 1, 1] = FILLER_ROW

    steps = list(read_steps(rows, positions, pad_id=PAD, image_size=IMAGE_SIZE))

    read = [[batch["row_ids"].tolist() for batch in step.micro_batches] for step in steps]
    assert read == positions.tolist()
    assert all(batch["pixel_values"].dtype == torch.uint8 for batch in steps[0].micro_batches)


def test_image_positions_and_images_are_counted_alike(rows: ImageRows[CaptionedImage]) -> None:
    positions = np.arange(8).reshape(1, 1, 8)
    Path(str(rows.examples[1].path)).write_bytes(b"not a picture")

    (step,) = read_steps(rows, positions, pad_id=PAD, image_size=IMAGE_SIZE)

    (batch,) = step.micro_batches
    num_image_ids = int((batch["input_ids"] == rows.tokenizer.image_id).sum())
    assert [row.reason for row in step.bad_rows] == ["not an image"] * 2
    assert num_image_ids == batch["pixel_values"].shape[0] * NUM_PATCHES == 6 * NUM_PATCHES


def test_real_images_give_no_bad_row(shared_data: Path) -> None:
    config = ImageDataConfig(root=str(shared_data), tokenizer="tokenizer/phi-2-reconstructed")
    rows = caption_rows(config, num_patches=49, seed=0, part="heldout")
    positions = np.arange(rows.num_rows)[None, None]

    (step,) = read_steps(rows, positions, pad_id=rows.tokenizer.pad_id, image_size=32)

    assert not step.bad_rows
    assert step.micro_batches[0]["pixel_values"].shape == (rows.num_rows, 3, 32, 32)


def test_collate_keeps_features_in_step_with_rows() -> None:
    features = torch.randn(2, 3, 2).to(torch.bfloat16)  # (images, patches, vision_hidden)
    data = [row.view(torch.int16).numpy().tobytes() for row in features]
    rows = [
        Row(5, [1], [1], image_features=data[1]),
        bad_row(6, reason="truncated image", detail="cut"),
        FILLER,
        Row(7, [1], [1]),  # a row of text
        Row(8, [1], [1], image_features=data[0]),
    ]
    batch, bad = collate(
        table_from_rows(rows), pad_id=PAD, image_size=IMAGE_SIZE, feature_shape=(3, 2)
    )
    assert torch.equal(batch["image_features"], features[[1, 0]])
    assert "pixel_values" not in batch
    assert batch["loss_weights"].tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]
    assert [row.row_id for row in bad] == [6]
    none, _ = collate(
        table_from_rows([FILLER]), pad_id=PAD, image_size=IMAGE_SIZE, feature_shape=(3, 2)
    )
    assert none["image_features"].shape == (0, 3, 2)
    assert none["image_features"].dtype == torch.bfloat16
