"""The base of all settings."""

import pytest
from pydantic import ValidationError

from phiray.config.base import Config


class Sample(Config):
    count: int = 1
    """How many."""
    share: float = 0.5


def test_config_takes_the_text_under_a_field_as_its_help() -> None:
    assert Sample.model_fields["count"].description == "How many."


@pytest.mark.parametrize(
    "tree",
    [{"count": "1"}, {"count": True}, {"count": 1.0}, {"share": float("inf")}, {"counts": 1}],
)
def test_config_refuses_other_types_unknown_keys_and_infinity(tree: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"1 validation error"):
        Sample.model_validate(tree)


def test_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match=r"frozen"):
        Sample().count = 2  # type: ignore[misc]  # that it is refused is what is tested
