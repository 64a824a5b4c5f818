"""Turn pydantic's findings into sentences: the full key, its value, what was expected, the mend.

Source: STYLE 6; `difflib` for the suggestions.
Limits: English only; a contradiction between fields is found once each field is right by itself.
"""

import difflib
import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from phiray.config.base import Config
from phiray.config.fields import (
    TAG,
    Place,
    all_paths,
    choices_of,
    expectation,
    find_place,
    groups_of,
    tags_of,
)
from phiray.config.yaml_text import dotted, format_scalar

_SIMILARITY = 0.6
"""difflib's own default; below it suggestions read as noise."""
_VALUE_WIDTH = 60

_OTHER_NAMES = {
    "lr": "learning_rate",
    "max_lr": "learning_rate",
    "wd": "weight_decay",
    "batch_size": "global_batch_size",
    "bs": "global_batch_size",
    "accumulation": "gradient_accumulation_steps",
    "grad_accum": "gradient_accumulation_steps",
    "epochs": "max_steps",
    "num_epochs": "max_steps",
    "num_steps": "max_steps",
    "steps": "max_steps",
    "warmup": "warmup_steps",
    "clip": "max_grad_norm",
    "grad_clip": "max_grad_norm",
    "num_workers": "workers",
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "block_size": "sequence_length",
    "top_k": "num_experts_per_token",
}
"""What other trainers call these settings; difflib cannot know."""

Places = Mapping[tuple[str | int, ...], str]
"""For a path, the file and line or the `--set` that it came from."""


def suggest(word: str, options: Sequence[str]) -> str:
    """Return ` Did you mean X?` for the option nearest to `word`, or nothing."""
    near = difflib.get_close_matches(word, options, n=1, cutoff=_SIMILARITY)
    return f" Did you mean {near[0]}?" if near else ""


def explain_errors(error: ValidationError, *, root: type[Config], places: Places) -> str:
    """Write one line for each thing that is wrong, in the order of the settings."""
    return "\n".join(_explain(item, root, places) for item in error.errors())


def _explain(item: ErrorDetails, root: type[Config], places: Places) -> str:
    place = find_place(root, item["loc"])
    sentence = _sentence(item, place, root)
    origin = _origin(place.path, places)
    return f"{origin}: {sentence}" if origin else sentence


def _sentence(item: ErrorDetails, place: Place, root: type[Config]) -> str:
    name = dotted(place.path)
    match item["type"]:
        case "extra_forbidden":
            return f"{name} is not a setting.{_other_key(place, root)}"
        case "missing":
            wanted = expectation(place.field) if place.field else "set"
            return f"{name} is missing. It must be {wanted}. Set it with --set {name}=VALUE."
        case "union_tag_not_found" | "union_tag_invalid":
            return _wrong_tag(item, place, name)
        case "value_error":
            text = item["msg"].removeprefix("Value error, ")
            return f"{name}: {text}" if name else text
    return _wrong_value(item, place, name)


def _wrong_value(item: ErrorDetails, place: Place, name: str) -> str:
    value = item["input"]
    shown = _show(value)
    if place.field is None:  # an item of a list, or the root
        subject = f"{name} is {shown}" if name else f"The settings are {shown}"
        return f"{subject}. {item['msg']}."
    wanted = expectation(place.field)
    if item["type"] == "finite_number":
        wanted = f"{wanted} that is finite"
    mend = suggest(str(value), choices_of(place.field)) or _example(place, name)
    return f"{name} is {shown}. It must be {wanted}.{mend}"


def _wrong_tag(item: ErrorDetails, place: Place, name: str) -> str:
    tags = list(tags_of(groups_of(place.field))) if place.field else []
    wanted = ", ".join(tags)
    tag = item["input"].get(TAG)
    if tag is None:
        return (
            f"{name}.{TAG} is missing. It must be one of {wanted}. Set it: --set {name}.{TAG}=..."
        )
    hint = suggest(str(tag), tags)
    return f"{name}.{TAG} is {_show(tag)}. It must be one of {wanted}.{hint}"


def _other_key(place: Place, root: type[Config]) -> str:
    """Suggest a key: a known other name, one in the same group, or the same word elsewhere."""
    word = str(place.path[-1])
    wanted = _OTHER_NAMES.get(word, word)
    group = place.path[:-1]
    here = difflib.get_close_matches(wanted, place.siblings, n=1, cutoff=_SIMILARITY)
    if here:
        return f" Did you mean {dotted((*group, here[0]))}?"
    elsewhere = [path for path in all_paths(root) if path[-1] == wanted]
    if elsewhere:
        return f" Did you mean {dotted(elsewhere[0])}?"
    where = f"{dotted(group)} knows" if group else "The top level knows"
    return f" {where}: {', '.join(place.siblings)}. Remove it."


def _example(place: Place, name: str) -> str:
    assert place.field is not None
    default = place.field.default
    if default is PydanticUndefined or not isinstance(default, str | int | float):
        return " Change it."
    return f" Change it, e.g. --set {name}={format_scalar(default)}."


def _show(value: object) -> str:
    if isinstance(value, dict):
        return "a group of settings"
    if value is None:
        return "empty"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _VALUE_WIDTH else f"{text[:_VALUE_WIDTH]}..."


def _origin(path: tuple[str | int, ...], places: Places) -> str:
    for end in range(len(path), -1, -1):
        if path[:end] in places:
            return places[path[:end]]
    return ""
