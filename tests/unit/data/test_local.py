from pathlib import Path

import numpy as np
import pytest
import torch

from phiray.config.data import ImageDataConfig
from phiray.data.image_rows import CaptionRows
from phiray.data.local import read_steps
from phiray.types import FILLER_ROW
from tests.image_builders import IMAGE_SIZE, NUM_PATCHES, write_image_world


@pytest.fixture
def rows(tmp_path: Path) -> CaptionRows:
    config = write_image_world(tmp_path)
    return CaptionRows(config, num_patches=NUM_PATCHES, seed=0)


def test_read_steps_gives_the_planned_rows(rows: CaptionRows) -> None:
    positions = np.arange(12).reshape(3, 2, 2)
    positions[2, 1, 1] = FILLER_ROW

    steps = list(read_steps(rows, positions, pad_id=7, image_size=IMAGE_SIZE))

    read = [[batch["row_ids"].tolist() for batch in step.micro_batches] for step in steps]
    assert read == positions.tolist()
    assert all(batch["pixel_values"].dtype == torch.uint8 for batch in steps[0].micro_batches)


def test_read_steps_counts_image_positions_and_images_alike(rows: CaptionRows) -> None:
    positions = np.arange(8).reshape(1, 1, 8)
    rows.examples[1].path.write_bytes(b"not a picture")

    (step,) = read_steps(rows, positions, pad_id=7, image_size=IMAGE_SIZE)

    (batch,) = step.micro_batches
    num_image_ids = int((batch["input_ids"] == rows.tokenizer.image_id).sum())
    assert [row.reason for row in step.bad_rows] == ["not an image"] * 2
    assert num_image_ids == batch["pixel_values"].shape[0] * NUM_PATCHES == 6 * NUM_PATCHES


def test_read_steps_of_real_images_has_no_bad_row(shared_data: Path) -> None:
    config = ImageDataConfig(root=str(shared_data), tokenizer="tokenizer/phi-2-reconstructed")
    rows = CaptionRows(config, num_patches=49, seed=0, part="heldout")
    positions = np.arange(rows.num_rows)[None, None]

    (step,) = read_steps(rows, positions, pad_id=rows.tokenizer.pad_id, image_size=32)

    assert not step.bad_rows
    assert step.micro_batches[0]["pixel_values"].shape == (rows.num_rows, 3, 32, 32)
