"""What is sent to a cluster for `train`, `tune`, `eval`, `data prepare`: words, settings, a name.

    train_command(config, resume=...) / tune_command(config) / eval_command(suite, path, ...)
    prepare_command(config)

Source: DESIGN 8; each names its work, so that a repeated command finds the job that is there.
Limits: data, models and checkpoints are paths of the cluster. They cannot be looked at from here,
so only their form is checked; with several nodes they lie on storage that all of them share.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from phiray.checkpoints.commit import CHECKPOINTS_NAME
from phiray.config.data import without_credentials
from phiray.config.search import AnySearch
from phiray.config.show import yaml_from_config
from phiray.config.stages import AnyStageConfig
from phiray.errors import ConfigError
from phiray.jobs.cluster.remote import RemoteCommand
from phiray.jobs.paths import stage_paths
from phiray.storage import is_url

_MAY_BE_URLS = ("data.root", "--data")


def train_command(config: AnyStageConfig, *, resume: bool) -> RemoteCommand:
    """Train a stage; a later attempt goes on with the run, if there is anything to go on with.

    Args:
        config: the stage's settings.
        resume: go on with a run that the cluster's storage holds, though this head knows no job.

    Raises:
        ConfigError: if a path would mean another place on the cluster.
    """
    _check_absolute(stage_paths(config))
    return RemoteCommand(
        ["train", config.stage],
        name=config.run.name,
        settings=yaml_from_config(config, comments=False),
        first_flags=["--resume"] if resume else [],
        later_flags=["--auto-resume"],
    )


def prepare_command(config: AnyStageConfig) -> RemoteCommand:
    """Prepare a stage's data; repeated, it finds what is there, and makes what is not.

    Raises:
        ConfigError: if a path would mean another place on the cluster.
    """
    _check_absolute(stage_paths(config))
    return RemoteCommand(
        ["data", "prepare", config.stage],
        name=f"prepare-{config.run.name}",
        settings=yaml_from_config(config, comments=False),
        is_repeated=True,
    )


def tune_command(config: AnySearch) -> RemoteCommand:
    """Search settings; the command itself goes on with a search that is there.

    Raises:
        ConfigError: if a path would mean another place on the cluster.
    """
    base = {f"base.{key}": path for key, path in stage_paths(config.base).items()}
    _check_absolute({"run.output_dir": config.run.output_dir, **base})
    return RemoteCommand(
        ["tune", config.tune],
        name=config.run.name,
        settings=yaml_from_config(config, comments=False),
    )


def eval_command(
    suite: str, checkpoint: Path, *, data: str | None, changes: Sequence[str]
) -> RemoteCommand:
    """Score a checkpoint. A run stands for its newest one, so that it is scored anew each time.

    Args:
        suite: `lm`, `caption` or `instruct`.
        checkpoint: a run or one checkpoint of it, on the cluster.
        data: folder or URL of the data there, if the run is to be scored on other data.
        changes: settings of the evaluation, such as `max_images=5000`.

    Raises:
        ConfigError: if a path would mean another place on the cluster, or a URL holds a password,
            which the cluster would show to whoever lists its jobs.
    """
    if data is not None:
        try:
            without_credentials(data)
        except ValueError as error:
            raise ConfigError(f"--data: {error}") from error
    _check_absolute({"CHECKPOINT": str(checkpoint), **({"--data": data} if data else {})})
    checkpoint = Path(os.path.normpath(checkpoint))
    is_pinned = checkpoint.parent.name == CHECKPOINTS_NAME
    run = checkpoint.parent.parent.name if is_pinned else checkpoint.name
    step = re.sub(r"^step-0+(?=.)", "-step-", checkpoint.name) if is_pinned else ""
    words = ["eval", suite, str(checkpoint), *(["--data", data] if data else [])]
    return RemoteCommand(
        [*words, *(word for change in changes for word in ("--set", change))],
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", f"eval-{suite}-{run}{step}"),
        is_repeated=not is_pinned,
    )


def _check_absolute(paths: Mapping[str, str]) -> None:
    """Refuse paths that would mean another place on the cluster, all of them in one message."""
    relative = [
        f"{key} is {path!r}"
        for key, path in paths.items()
        if not (Path(path).is_absolute() or (key.endswith(_MAY_BE_URLS) and is_url(path)))
    ]
    if relative:
        raise ConfigError(
            f"{'; '.join(relative)}. On a cluster, paths must be absolute, and on storage that all "
            "of its nodes share. Give them so, e.g. --set run.output_dir=/mnt/shared/runs."
        )
