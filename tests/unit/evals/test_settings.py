"""Settings refuse what cannot be evaluated."""

import pytest
from pydantic import ValidationError

from phiray.evals.settings import EvalSettings


def test_eval_settings_need_two_images_to_shuffle() -> None:
    with pytest.raises(ValidationError, match="max_images"):
        EvalSettings(max_images=1)


def test_eval_settings_describe_every_field() -> None:
    assert all(field.description for field in EvalSettings.model_fields.values())
