"""Settings refuse what cannot be evaluated."""

import pytest
from pydantic import ValidationError

from phiray.errors import ConfigError, ExitCode
from phiray.evals.settings import EvalSettings, change_settings


def test_eval_settings_need_two_images_to_shuffle() -> None:
    with pytest.raises(ValidationError, match="max_images"):
        EvalSettings(max_images=1)


def test_eval_settings_describe_every_field() -> None:
    assert all(field.description for field in EvalSettings.model_fields.values())


def test_change_settings_applies_changes_in_order_to_the_defaults() -> None:
    assert change_settings([]) == EvalSettings()
    changed = change_settings(["max_images=7", "seed=3", "max_images=5000"])
    assert changed == EvalSettings(max_images=5000, seed=3)


def test_change_settings_explains_all_that_is_wrong_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"--set max_image=9: .* Did you mean max_images"
    ) as error:
        change_settings(["max_image=9", "seed=x"])
    assert '--set seed=x: seed is "x". It must be a whole number' in error.value.message
    assert error.value.exit_code is ExitCode.BAD_CONFIG


@pytest.mark.parametrize("change", ["max_images", "=5"])
def test_change_settings_refuses_what_is_no_change(change: str) -> None:
    with pytest.raises(ConfigError, match="is no change of a setting") as error:
        change_settings([change])
    assert error.value.exit_code is ExitCode.USAGE
