"""Settings of the data."""

import pytest
from pydantic import ValidationError

from phiray.config.data import ImageDataConfig, SplitConfig, TextDataConfig


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
