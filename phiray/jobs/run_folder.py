"""The folder of a run: made once, reopened only for the same run.

Source: the layout of DESIGN 9.
Limits: one machine writes it at a time; attempts are fenced by the checkpoints package.
"""

import json
import platform
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from phiray.checkpoints.files import error_from_write, write_json, write_text
from phiray.config.load import config_from_file
from phiray.config.stages import AnyStageConfig
from phiray.data import atomic
from phiray.data.sources.annotations import Excluded
from phiray.errors import CheckpointError, ConfigError, DataError, ExitCode
from phiray.stages.parts import CONFIG_FILE, MANIFEST_FILE, PreparedData, config_yaml

_PACKAGES = ("phiray", "torch", "ray", "transformers", "litgpt", "open_clip_torch", "numpy")
EXCLUDED_FILE = "excluded.jsonl"
"""Records that became no row. Those that did, and failed when they were read, are in the list of
`training/quarantine.py`, which is cut back when a run goes on; this one is not."""
_MAY_CHANGE = (
    # how fast, in how much memory, and what is kept beside the weights
    "cluster",
    "data.decode",
    "data.readers",
    "data.packing",
    "training.gradient_accumulation_steps",
    "training.checkpoint_every_steps",
    "training.keep_checkpoints",
    "training.log_row_ids",
    # when to give up
    "data.max_bad_fraction",
    "data.sign_images",  # looked at once, when the run is started
    # where things lie; that they are the same is known by their hashes, in the run's manifest
    "run.output_dir",
    "data.root",
    "data.prepared",
    "data.node_cache",
    "data.node_cache_gb",
    "language_model",
    "checkpoint",
    "vision.weights",
)
"""Settings that a resumed run may change: they do not alter what is learnt."""
_PLACES = ("data.feature_cache",)
"""Settings whose folder may change, but not whether there is any: what it holds is known by its
hash, in the run's manifest."""


def check_run_folder(config: AnyStageConfig, *, resume: bool) -> Path:
    """Return the folder of the run, which is not there yet, or holds the run that is resumed.

    Raises:
        CheckpointError: 73 if the folder holds a run already, 66 if there is none to resume.
        ConfigError: if the run that is resumed had other settings; the message lists them. Also
            if its file of settings cannot be read any more.
    """
    folder = run_folder(config)
    stored = folder / CONFIG_FILE
    if resume:
        if not stored.is_file():
            raise CheckpointError(
                f"{folder} holds no run to resume. It must be the folder of an interrupted run. "
                "Start it without --resume, or correct run.name and run.output_dir.",
                exit_code=ExitCode.MISSING_INPUT,
            )
        _check_same(config, stored)
        return folder
    if folder.is_dir() and any(folder.iterdir()):
        raise CheckpointError(
            f"{folder} exists and is not empty. A new run needs a folder of its own. Go on with "
            "that run by --resume, or name this one otherwise, e.g. "
            f"--set run.name={config.run.name}-2.",
            exit_code=ExitCode.CANNOT_CREATE,
        )
    return folder


def create_run_folder(config: AnyStageConfig) -> None:
    """Make the folder with its settings in it at once: without them it could not be resumed.

    Raises:
        DataError: if it cannot be made: disk full (74), forbidden (77), else 73.
    """
    folder = run_folder(config)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as temporary:
            fresh = Path(temporary) / folder.name
            fresh.mkdir()
            (fresh / CONFIG_FILE).write_text(config_yaml(config), encoding="utf-8")
            fresh.rename(folder)
    except OSError as error:
        raise atomic.error_from_write(folder, error, setting="run.output_dir") from error


def update_settings(config: AnyStageConfig) -> None:
    """Let the settings in the folder be those that the run goes on with.

    Raises:
        CheckpointError: if they cannot be written.
    """
    path, text = run_folder(config) / CONFIG_FILE, config_yaml(config)
    if path.read_text(encoding="utf-8") == text:
        return
    try:
        write_text(path, text)
    except OSError as error:
        raise error_from_write(error, what="The settings", path=path) from error


def run_folder(config: AnyStageConfig) -> Path:
    """Return the folder of the run: `run.output_dir/run.name`."""
    return Path(config.run.output_dir) / config.run.name


def has_begun(config: AnyStageConfig) -> bool:
    """Say whether the run's folder is there, with its settings."""
    return (run_folder(config) / CONFIG_FILE).is_file()


def write_manifest(folder: Path, *, data: PreparedData, models: dict[str, str], seed: int) -> None:
    """Write what the run is made of: versions, commit, seed, data, and the models it starts from.

    The record of the first start stays. Where a resumed run goes on with another version or commit,
    those are added to the list `resumed_with`.

    Args:
        folder: of the run.
        data: what its rows are.
        models: what tells each given model from another, by its key in the settings.
        seed: of the run.

    Raises:
        DataError: if the run was started on other data: its row positions would mean other rows.
        CheckpointError: if it was started from other models: its checkpoints hold none of their
            frozen weights.
    """
    path = folder / MANIFEST_FILE
    if path.is_file():
        stored = _read_manifest(path)
        _check_same_data(stored, data, folder=folder)
        _check_same_models(stored, models, folder=folder)
        _add_resumption(path, stored)
        return
    record = {
        **_software(),
        "seed": seed,
        "data": {"fingerprint": data.fingerprint, "counts": data.counts},
        "models": models,
    }
    write_json(path, record)


# Any: JSON of an own file.
def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON ({error}). Expected what `phiray train` wrote. Put it back, or "
            "start a run of another name."
        ) from error
    if not isinstance(stored, dict) or not {"data", "models"} <= stored.keys():
        raise CheckpointError(
            f"{path} names neither data nor models. Expected what `phiray train` wrote. Put it "
            "back, or start a run of another name."
        )
    return stored


def _software() -> dict[str, object]:
    """Return what runs: versions and commit."""
    return {
        "versions": package_versions(),
        "python": platform.python_version(),
        "commit": source_commit(),
    }


# Any: JSON of an own file.
def _add_resumption(path: Path, stored: dict[str, Any]) -> None:
    """Add what runs now to the record, unless it is what ran last."""
    now = _software()
    resumptions = stored.get("resumed_with", [])
    last = resumptions[-1] if resumptions else {key: stored[key] for key in now}
    if now != last:
        write_json(path, {**stored, "resumed_with": [*resumptions, now]})


def write_excluded(folder: Path, excluded: Sequence[Excluded]) -> Path:
    """List what became no row, once for a run: each attempt of it reads the same data.

    Returns:
        The list: JSON lines with the reason and the place of each record.

    Raises:
        CheckpointError: if it cannot be written.
    """
    path = folder / EXCLUDED_FILE
    if not path.exists():
        try:
            write_text(path, "".join(json.dumps(asdict(item)) + "\n" for item in excluded))
        except OSError as error:
            raise error_from_write(error, what="The list of unused records", path=path) from error
    return path


def package_versions() -> dict[str, str]:
    """Return the installed version of each package that alters what is learnt."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def source_commit() -> str:
    """Return the commit of the source tree that runs, with `+` if it has changes."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.strip()


def _check_same(config: AnyStageConfig, stored: Path) -> None:
    previous = config_from_file(stored)
    changed = differences(previous.model_dump(), config.model_dump())
    if changed:
        raise ConfigError(
            f"{stored.parent} was started with other settings: {'; '.join(changed)}. A resumed "
            "run must have the same. Take them back, or start a run of another name."
        )


# Any: JSON of an own file.
def _check_same_data(stored: dict[str, Any], data: PreparedData, *, folder: Path) -> None:
    if stored["data"]["fingerprint"] == data.fingerprint:
        return
    before = stored["data"]["counts"]
    raise DataError(
        f"The data of {folder} changed since it was started ("
        + (
            "the counts are equal, but texts, tokenizer or image files are not"
            if before == data.counts
            else f"then {before}, now {data.counts}"
        )
        + "). A resumed run must read the same rows. Put the data back, or start a run of another "
        "name."
    )


# Any: JSON of an own file.
def _check_same_models(stored: dict[str, Any], models: dict[str, str], *, folder: Path) -> None:
    before: dict[str, str] = stored["models"]
    changed = [key for key in {**before, **models} if before.get(key) != models.get(key)]
    if changed:
        raise CheckpointError(
            f"{' and '.join(changed)} of {folder} changed since it was started. A resumed run must "
            "go on with the same models. Put the old one back, or start a run of another name."
        )


def differences(old: object, new: object, path: str = "") -> list[str]:
    """List the settings that differ, but for those that do not alter what is learnt.

    Args:
        old: a tree of settings.
        new: another one.
        path: of both in the whole, with a point at its end.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if f"{path}{key}" not in _MAY_CHANGE]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}{key}.")
        ]
    if path[:-1] in _PLACES and old is not None and new is not None:
        return []
    return [] if old == new else [f"{path[:-1]} was {old!r}, now {new!r}"]
