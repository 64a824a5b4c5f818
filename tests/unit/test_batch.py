import dataclasses

import pytest
import torch

from phiray.batch import Batch, ModelOutput, move_batch
from tests.model_builders import image_batch, make_batch, random_ids


def test_pictures_their_features_and_packing_are_the_optional_parts_of_a_batch() -> None:
    assert Batch.__optional_keys__ == {"pixel_values", "image_features", "packed_index"}


def test_model_output_cannot_be_changed() -> None:
    output = ModelOutput(torch.zeros(1, 2, 3), None)
    with pytest.raises(dataclasses.FrozenInstanceError, match="router"):
        output.router = None  # type: ignore[misc]  # the point of the test


def test_move_batch_puts_every_tensor_on_the_device() -> None:
    batch = image_batch(2)
    moved = move_batch(batch, torch.device("meta"))
    assert moved.keys() == batch.keys()
    devices = {t.device.type for t in moved.values() if isinstance(t, torch.Tensor)}
    assert devices == {"meta"}


def test_move_batch_leaves_pictures_out_where_there_are_none() -> None:
    batch = make_batch(random_ids(1, 3))
    assert "pixel_values" not in move_batch(batch, torch.device("cpu"))
