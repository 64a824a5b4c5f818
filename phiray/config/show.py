"""Write settings as YAML, with the help of each field as a comment above it.

Source: the help is pydantic's `FieldInfo.description` (`use_attribute_docstrings`).
Limits: what it writes reads back as the same settings (`load.py`); comments are not kept.
"""

import textwrap
from collections.abc import Iterator

from pydantic.fields import FieldInfo

from phiray.config.base import Config
from phiray.config.fields import choices_of, groups_of, tags_of
from phiray.config.yaml_text import format_scalar

_LINE_WIDTH = 100
_INDENT = "  "


def yaml_from_config(config: Config, *, comments: bool = True) -> str:
    """Return every setting of `config`, defaults included, in the order of the schema."""
    return "\n".join(_lines(config, comments=comments, indent="")) + "\n"


def _lines(config: Config, *, comments: bool, indent: str) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if comments:
            yield from _comment(field.description or "", _choices(field), indent=indent)
        if isinstance(value, Config):
            yield f"{indent}{name}:"
            yield from _lines(value, comments=comments, indent=indent + _INDENT)
        elif isinstance(value, list) and value:
            yield f"{indent}{name}:"
            yield from (f"{indent}{_INDENT}- {format_scalar(item)}" for item in value)
        else:
            yield f"{indent}{name}: {format_scalar(value)}"


def _choices(field: FieldInfo) -> list[str]:
    """Return the words that a field takes, or the kinds of a union."""
    groups = groups_of(field)
    if len(groups) > 1:
        return list(tags_of(groups))
    return choices_of(field)


def _comment(text: str, choices: list[str], *, indent: str) -> Iterator[str]:
    words = " ".join(text.split())
    if len(choices) > 1:
        words = f"{words} [{' | '.join(choices)}]"
    prefix = f"{indent}# "
    yield from textwrap.wrap(
        words,
        width=_LINE_WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )
