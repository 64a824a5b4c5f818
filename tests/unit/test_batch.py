import dataclasses

import pytest
import torch

from phiray.batch import Batch, ModelOutput


def test_pictures_are_the_only_optional_part_of_a_batch() -> None:
    assert Batch.__optional_keys__ == {"pixel_values"}


def test_model_output_cannot_be_changed() -> None:
    output = ModelOutput(torch.zeros(1, 2, 3), None)
    with pytest.raises(dataclasses.FrozenInstanceError, match="router"):
        output.router = None  # type: ignore[misc]  # the point of the test
