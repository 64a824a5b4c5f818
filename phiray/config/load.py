"""From a preset's name or a YAML file, with `--set` changes, to checked settings.

    load_config(source, stage, overrides=...)   # one stage's
    load_search(source, kind, overrides=...)    # those of a search
    change_config(config, changes)              # settings with some of them changed
    value_at(config, key)                       # one of them

Source: YAML 1.2 as `yaml_text.py` reads it; exit codes of BSD sysexits.h.
Limits: one file, no includes; settings come from the file and the command line, never from the
environment.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from phiray.config.base import Config
from phiray.config.fields import TAG, find_place, groups_of, tags_of
from phiray.config.messages import explain_errors, suggest
from phiray.config.presets import PRESETS, preset
from phiray.config.search import SEARCH_CLASSES, AnySearch
from phiray.config.search_presets import search_preset
from phiray.config.stages import STAGE_CLASSES, STAGES, AnyStageConfig
from phiray.config.yaml_text import MAX_FILE_BYTES, decode_yaml, dotted, parse_yaml
from phiray.errors import ConfigError, ExitCode, exit_code_of

ConfigT = TypeVar("ConfigT", bound=Config)

_WORKERS = re.compile(r"[1-9]\d*(:[1-9]\d*)?")
_CREDENTIALS = re.compile(r"://[^/\s]*@")
"""In a URL; a refused password is not to be repeated."""
_SHOWN_SOURCE = 100
"""Characters of a path in the message that it is too long."""


@dataclass
class _Draft:
    """Settings that are not checked yet, and where each came from."""

    tree: dict[str, JsonValue]
    places: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    changed: set[tuple[str, ...]] = field(default_factory=set)
    """Paths that the command line set."""


def load_config(
    source: str,
    stage: str | None = None,
    *,
    overrides: Sequence[str] = (),
    workers: str | None = None,
) -> AnyStageConfig:
    """Load and check the settings of one stage.

    Args:
        source: a preset's name or the path of a YAML file.
        stage: the stage; none takes it from the file.
        overrides: changes such as `training.max_steps=30`, applied in order.
        workers: `N` or `MIN:MAX`; replaces `cluster.workers` and `cluster.max_workers`.

    Raises:
        ConfigError: with every wrong setting in one message; exit code 66 for a missing file,
            77 for one that may not be read, 2 for a malformed override or an unknown stage.
    """
    if stage is not None:
        check_stage(stage)
    draft = _draft_from(source, stage)
    root = STAGE_CLASSES[_stage_of(draft, source, stage)]
    for override in overrides:
        _apply(draft, override, root)
    if workers is not None:
        shown = f"--workers {workers}"
        if not _WORKERS.fullmatch(workers):
            raise ConfigError(
                f"{shown} is no number of training processes. It must be N or MIN:MAX, of at least "
                "1, such as --workers 2 or --workers 1:8.",
                exit_code=ExitCode.USAGE,
            )
        fewest, colon, most = workers.partition(":")
        _apply(draft, f"cluster.workers={fewest}", root, shown=shown)
        _apply(draft, f"cluster.max_workers={most if colon else 'null'}", root, shown=shown)
    return validate(draft.tree, root, places=draft.places)


def load_search(source: str, kind: str, *, overrides: Sequence[str] = ()) -> AnySearch:
    """Load and check the settings of a search.

    Args:
        source: a preset's name or the path of a YAML file.
        kind: `projector` or `moe`.
        overrides: changes such as `search.num_trials=4`, applied in order.

    Raises:
        ConfigError: as `load_config`.
    """
    if source in PRESETS:
        draft = _Draft(search_preset(source, kind).model_dump(mode="json"))
    else:
        draft = _draft_from_text(_read(source), source)
    written = draft.tree.get("tune", kind)
    if written != kind:
        raise ConfigError(
            f"{source}: tune is {written!r}, but the search {kind!r} was asked for. Name the other "
            "search, or another file."
        )
    root = SEARCH_CLASSES[kind]
    for override in overrides:
        _apply(draft, override, root)
    return validate(draft.tree, root, places=draft.places)


def change_config(config: ConfigT, changes: Sequence[str]) -> ConfigT:
    """Return settings with changes such as `projector.kind=moe`, checked anew.

    Raises:
        ConfigError: with every wrong setting in one message.
    """
    draft = _Draft(config.model_dump(mode="json"))
    for change in changes:
        _apply(draft, change, type(config), shown=change)
    return validate(draft.tree, type(config), places=draft.places)


def value_at(config: Config, key: str) -> JsonValue:
    """Return the value of a setting, such as `training.learning_rate`; None in an empty group.

    Raises:
        ConfigError: if there is no such setting.
    """
    found: JsonValue = config.model_dump(mode="json")
    for part in key.split("."):
        if found is None:  # a group that is left out, such as model.moe
            return None
        if not isinstance(found, dict) or part not in found:
            raise ConfigError(
                f"{key} is not a setting. It must be the path of one, such as "
                "training.learning_rate. Correct it."
            )
        found = found[part]
    return found


def validate(
    tree: dict[str, JsonValue],
    root: type[ConfigT],
    *,
    places: dict[tuple[str | int, ...], str] | None = None,
) -> ConfigT:
    """Check a tree of plain values against a schema; all errors in one message."""
    try:
        return root.model_validate(tree)
    except ValidationError as error:
        message = explain_errors(error, root=root, places=places or {})
        raise ConfigError(message) from error
    except OverflowError as error:
        raise ConfigError(
            f"A number in the settings is beyond all bounds: {error}. Lower it."
        ) from error


def config_from_yaml(text: str, *, origin: str) -> AnyStageConfig:
    """Check settings that a checkpoint carries as YAML text.

    Args:
        text: what `yaml_from_config` wrote.
        origin: what to call it in an error, such as the file's name.

    Raises:
        ConfigError: with file and line, if it is anything else.
    """
    draft = _draft_from_text(text, origin)
    return validate(draft.tree, STAGE_CLASSES[_stage_of(draft, origin, None)], places=draft.places)


def config_from_file(path: Path) -> AnyStageConfig:
    """Check the settings that a run's folder carries.

    Raises:
        ConfigError: with file and line, if they are no settings, or were spoilt by hand.
    """
    return config_from_yaml(decode_yaml(path.read_bytes(), origin=str(path)), origin=str(path))


def check_stage(stage: str) -> None:
    """Refuse an unknown stage as a mistake in the command, with a suggestion."""
    if stage not in STAGES:
        raise ConfigError(
            f"{stage!r} is not a stage. It must be one of {', '.join(STAGES)}."
            f"{suggest(stage, STAGES)}",
            exit_code=ExitCode.USAGE,
        )


def _draft_from(source: str, stage: str | None) -> _Draft:
    if source in PRESETS:
        if stage is None:
            raise ConfigError(
                f"{source!r} is a preset, which holds every stage. Name the stage as well, or "
                f"write one stage into a file: phiray config {STAGES[0]} --preset {source}.",
                exit_code=ExitCode.USAGE,
            )
        return _Draft(preset(source, stage).model_dump(mode="json"))
    return _draft_from_text(_read(source), source)


def _draft_from_text(text: str, origin: str) -> _Draft:
    parsed = parse_yaml(text, origin=origin)
    if not isinstance(parsed.value, dict):
        found = "empty" if parsed.value is None else "not a group of settings"
        raise ConfigError(
            f"{origin} is {found}. It must hold the settings of a stage or a search, as `key: "
            "value` lines. Make one with: phiray config STAGE --preset tiny."
        )
    places = {path: f"{origin}:{line}" for path, line in parsed.lines.items()}
    return _Draft(parsed.value, places)


def _read(source: str) -> str:
    try:
        with Path(source).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except IsADirectoryError as error:
        raise ConfigError(
            f"--config is {source!r}, which is a folder. It takes a YAML file or a preset's name."
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(
            f"{source} does not exist. --config takes a YAML file or a preset's name "
            f"({', '.join(PRESETS)}).{suggest(source, PRESETS)} Make a file with: "
            "phiray config STAGE --preset tiny.",
            exit_code=ExitCode.MISSING_INPUT,
        ) from error
    except PermissionError as error:
        raise ConfigError(
            f"{source} may not be read by you. Change its permissions.",
            exit_code=ExitCode.PERMISSION,
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{source:.{_SHOWN_SOURCE}} cannot be read: {error.strerror}. --config takes a YAML "
            "file or a preset's name. Correct it.",
            exit_code=exit_code_of(error) or ExitCode.MISSING_INPUT,
        ) from error
    return decode_yaml(content, origin=source)


def _stage_of(draft: _Draft, origin: str, stage: str | None) -> str:
    written = draft.tree.get("stage", stage)
    if not isinstance(written, str) or written not in STAGES:
        raise ConfigError(
            f"{origin}: stage is {written!r}. It must be one of {', '.join(STAGES)}."
            f"{suggest(str(written), STAGES)}"
        )
    if stage is not None and written != stage:
        raise ConfigError(
            f"{origin} holds the settings of stage {written!r}, but {stage!r} was asked for. Name "
            "the other stage, or another file."
        )
    return written


def _apply(draft: _Draft, override: str, root: type[Config], *, shown: str | None = None) -> None:
    """Put one `a.b=value` into the tree, making groups on the way."""
    name, equals, text = override.partition("=")
    path = tuple(name.strip().split("."))
    shown = shown or f"--set {_CREDENTIALS.sub('://...@', override)}"
    if not equals or not all(path):
        raise ConfigError(
            f"{shown} is no change of a setting. It must have the form "
            "--set training.learning_rate=0.001.",
            exit_code=ExitCode.USAGE,
        )
    value = parse_yaml(text, origin=shown).value
    group = _group_at(draft.tree, path[:-1], shown=shown)
    if path[-1] == TAG and _is_other_kind(root, path[:-1], old=group.get(TAG), new=value):
        for key in [key for key in group if (*path[:-1], key) not in draft.changed]:
            del group[key]  # the settings of another kind do not apply
    group[path[-1]] = value
    draft.changed.add(path)
    for known in [known for known in draft.places if known[: len(path)] == path]:
        del draft.places[known]
    draft.places[path] = shown


def _group_at(
    tree: dict[str, JsonValue], path: Sequence[str], *, shown: str
) -> dict[str, JsonValue]:
    group = tree
    for depth, key in enumerate(path, start=1):
        if group.get(key) is None:
            group[key] = {}
        below = group[key]
        if not isinstance(below, dict):
            raise ConfigError(
                f"{shown}: {dotted(path[:depth])} is {below!r}, which has no settings below it. "
                f"Set it whole: --set {dotted(path[:depth])}=VALUE."
            )
        group = below
    return group


def _is_other_kind(
    root: type[Config], path: Sequence[str], *, old: JsonValue, new: JsonValue
) -> bool:
    """Tell whether two words name different members of the union at `path`; aliases name one."""
    found = find_place(root, path).field
    kinds = tags_of(groups_of(found)) if found is not None else {}
    return str(old) in kinds and str(new) in kinds and kinds[str(old)] is not kinds[str(new)]
