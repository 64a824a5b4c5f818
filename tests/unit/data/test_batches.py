from pathlib import Path

import numpy as np
import torch

from phiray.data.batches import read_batch
from phiray.data.image_sets import caption_rows
from phiray.data.text_rows import TextRows
from tests.feature_builders import rows_with_features
from tests.image_builders import IMAGE_SIZE, NUM_PATCHES, write_image_world
from tests.step_reader import read_steps
from tests.text_builders import write_token_rows

PAD = 99


def test_read_batch_gives_what_the_steps_of_a_run_give(tmp_path: Path) -> None:
    rows = caption_rows(write_image_world(tmp_path), num_patches=NUM_PATCHES, seed=0)
    ids = np.array([4, 0, 7])
    batch, bad_rows = read_batch(rows, ids, pad_id=PAD, image_size=IMAGE_SIZE)
    assert bad_rows == []
    (step,) = read_steps(rows, ids.reshape(1, 1, 3), pad_id=PAD, image_size=IMAGE_SIZE)
    assert batch.keys() == step.micro_batches[0].keys()
    for key, value in batch.items():
        assert isinstance(value, torch.Tensor)
        torch.testing.assert_close(value, dict(step.micro_batches[0])[key], rtol=0, atol=0)


def test_read_batch_of_text_has_no_pictures(tmp_path: Path) -> None:
    rows = TextRows(write_token_rows(tmp_path, [[range(16)]], sequence_length=8), "x")
    batch, _ = read_batch(rows, np.array([1]), pad_id=PAD, image_size=None)
    assert batch["input_ids"].tolist() == [list(range(8, 16))]
    assert "pixel_values" not in batch


def test_rows_that_cannot_be_read_have_no_weight_and_are_listed(tmp_path: Path) -> None:
    rows = caption_rows(write_image_world(tmp_path), num_patches=NUM_PATCHES, seed=0)
    for picture in tmp_path.rglob("*.jpg"):
        picture.write_bytes(b"no picture")
    batch, bad_rows = read_batch(rows, np.array([4, 0]), pad_id=PAD, image_size=IMAGE_SIZE)
    assert [row.row_id for row in bad_rows] == [4, 0]
    assert batch["loss_weights"].tolist() == [0.0, 0.0]


def test_rows_with_features_give_what_the_steps_of_a_run_give(tmp_path: Path) -> None:
    rows, view = rows_with_features(tmp_path)
    ids = np.array([4, 0, 7])
    batch, bad_rows = read_batch(
        rows, ids, pad_id=PAD, image_size=IMAGE_SIZE, feature_shape=view.shape
    )
    assert bad_rows == []
    assert batch["image_features"].shape == (3, *view.shape)
    assert "pixel_values" not in batch
    (step,) = read_steps(
        rows, ids.reshape(1, 1, 3), pad_id=PAD, image_size=IMAGE_SIZE, feature_shape=view.shape
    )
    for key, value in batch.items():
        assert isinstance(value, torch.Tensor)
        torch.testing.assert_close(value, dict(step.micro_batches[0])[key], rtol=0, atol=0)
