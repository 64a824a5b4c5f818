"""The base of all settings: strict, frozen, unknown keys forbidden, doc strings as help.

Source: pydantic 2 (`use_attribute_docstrings`).
Limits: only the form; loading and error texts are in `load.py`.
"""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A group of settings; a doc string under a field is its help."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )
