import dataclasses

import pytest
import torch

from phiray.types import FILLER_ROW, IGNORE_INDEX, BadRow, Batch, ModelOutput


def test_ignored_labels_are_those_of_torch() -> None:
    logits, labels = torch.zeros(2, 3), torch.tensor([0, IGNORE_INDEX])
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(loss, torch.log(torch.tensor(3.0)))


def test_filler_is_no_position_of_a_data_set() -> None:
    assert FILLER_ROW < 0


def test_pictures_are_the_only_optional_part_of_a_batch() -> None:
    assert Batch.__optional_keys__ == {"pixel_values"}


def test_results_cannot_be_changed() -> None:
    row = BadRow(3, "broken image", "truncated")
    with pytest.raises(dataclasses.FrozenInstanceError, match="reason"):
        row.reason = "fine"  # type: ignore[misc]  # the point of the test
    output = ModelOutput(torch.zeros(1, 2, 3), None)
    with pytest.raises(dataclasses.FrozenInstanceError, match="router"):
        output.router = None  # type: ignore[misc]  # the point of the test
