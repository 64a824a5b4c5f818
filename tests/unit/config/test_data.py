"""Settings of the data."""

import pytest
from pydantic import ValidationError

from phiray.config.data import (
    ImageDataConfig,
    SplitConfig,
    TextDataConfig,
    longest_row,
    padded_length,
)


def test_text_data_needs_a_source() -> None:
    with pytest.raises(ValidationError, match=r"source\n.*Field required"):
        TextDataConfig.model_validate({})


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_leaves_something_on_both_sides(fraction: float) -> None:
    with pytest.raises(ValidationError, match=r"heldout_fraction"):
        SplitConfig(heldout_fraction=fraction)


@pytest.mark.parametrize("key", ["annotations", "conversations"])
def test_image_data_refuses_an_empty_list_of_files(key: str) -> None:
    with pytest.raises(ValidationError, match=rf"{key} is empty\. Name at least one"):
        ImageDataConfig.model_validate({key: []})


def test_longest_row_is_the_longest_whose_padding_fits() -> None:
    assert [padded_length(length) for length in (1, 8, 9)] == [8, 8, 16]
    for positions in (8, 15, 16, 100):
        assert padded_length(longest_row(positions)) <= positions
        assert padded_length(longest_row(positions) + 1) > positions
