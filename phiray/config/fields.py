"""Walk the schema of settings: which groups a field may hold, its range, its choices.

Source: pydantic 2 (`FieldInfo`; in its metadata a bound has the name that `Field` gives it).
Limits: knows the forms that phiray's settings use: scalars, lists of scalars, names with values,
groups, optional groups, and unions of groups told apart by `kind`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from phiray.config.base import Config

TAG = "kind"
"""The field that tells the members of a union apart."""

_BOUNDS = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True)
class Place:
    """Where an error lies in the settings."""

    path: tuple[str | int, ...]
    """Keys from the root, without the tags that pydantic adds for unions."""
    siblings: tuple[str, ...]
    """Keys that the group around it knows."""
    field: FieldInfo | None
    """The field itself; none for an unknown key or the root."""


def groups_of(field: FieldInfo) -> list[type[Config]]:
    """Return the groups that a field may hold; more than one for a union, none for a scalar."""
    return list(_groups(field.annotation))


def choices_of(field: FieldInfo) -> list[str]:
    """Return the words that a field takes; none if it is not limited to words."""
    return list(_choices(field.annotation))


def tags_of(groups: Sequence[type[Config]]) -> dict[str, type[Config]]:
    """Map each `kind` to its member of a union."""
    return {
        tag: group
        for group in groups
        if TAG in group.model_fields
        for tag in choices_of(group.model_fields[TAG])
    }


def find_place(root: type[Config], location: Sequence[str | int]) -> Place:
    """Follow a location as pydantic reports it, leaving out the tags of unions."""
    groups: list[type[Config]] = [root]
    place = Place((), tuple(root.model_fields), None)
    for part in location:
        if len(groups) > 1 and part in tags_of(groups):
            groups = [tags_of(groups)[str(part)]]
            continue
        siblings = tuple(dict.fromkeys(key for group in groups for key in group.model_fields))
        field = next(
            (group.model_fields[str(part)] for group in groups if part in group.model_fields), None
        )
        place = Place((*place.path, part), siblings, field)
        groups = groups_of(field) if field else []
    return place


def all_paths(root: type[Config], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every scalar setting below a group."""
    for name, field in root.model_fields.items():
        groups = groups_of(field)
        if not groups:
            yield (*prefix, name)
        for group in groups:
            yield from all_paths(group, (*prefix, name))


def expectation(field: FieldInfo) -> str:
    """Say what a field takes: its kind, and its range or its choices."""
    words = choices_of(field)
    if words:
        return _either(words)
    groups = groups_of(field)
    if len(groups) > 1:
        return f"a group of settings with {TAG}: {_either(list(tags_of(groups)))}"
    if groups:
        return "a group of settings (an indented block)"
    many = (
        "names with values, as {name: value}" if get_origin(field.annotation) is dict else "a list"
    )
    kind = next((text for type_, text in _KINDS.items() if type_ in _members(field)), many)
    bounds = [_bound(item) for item in field.metadata]
    return " ".join([kind, " and ".join(bound for bound in bounds if bound)]).strip()


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _bound(item: object) -> str:
    found = (
        f"{words} {getattr(item, name)}" for name, words in _BOUNDS.items() if hasattr(item, name)
    )
    return next(found, "")


def _members(field: FieldInfo) -> tuple[object, ...]:
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        return get_args(annotation)
    return (annotation,)


def _groups(annotation: object) -> Iterator[type[Config]]:
    if get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _groups(part)
    elif isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation


def _choices(annotation: object) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (str(word) for word in get_args(annotation))
    elif get_origin(annotation) in (Union, UnionType, Annotated):
        for part in get_args(annotation):
            yield from _choices(part)
