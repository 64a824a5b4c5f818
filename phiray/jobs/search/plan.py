"""Which trials a search consists of, drawn once and kept: the same command finds the same ones.

Source: draws by Ray Tune's own domains; a grid is the product of the choices.
Limits: drawn before the first trial runs, so no trial learns from another; those of Optuna do, and
are drawn one by one (suggest.py).
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue
from ray import tune
from ray.tune.search.sample import Domain

from phiray.checkpoints.files import write_json
from phiray.config.load import change_config
from phiray.config.search import AnySearch, Dimension, SearchConfig
from phiray.config.stages import AnyStageConfig
from phiray.config.training import ClusterConfig
from phiray.config.yaml_text import format_scalar
from phiray.errors import CheckpointError, ConfigError
from phiray.node import num_cores

PLAN_FILE = "trials.json"
TRIALS_FOLDER = "trials"
MAX_DRAWS = 100
"""For one trial of Optuna's, until there is one that can be trained."""


@dataclass(frozen=True)
class PlannedTrial:
    """One trial; number 0 is `base` unchanged."""

    number: int
    changes: dict[str, JsonValue]
    """Settings of `base`, by their path."""

    @property
    def name(self) -> str:
        """Of its run, and of what Tune calls it."""
        return f"trial-{self.number:03d}"

    @property
    def overrides(self) -> list[str]:
        """The changes as `--set` takes them."""
        return [f"{key}={format_scalar(value)}" for key, value in self.changes.items()]


def plan_trials(config: AnySearch, folder: Path) -> list[PlannedTrial]:
    """Draw the trials of a search, or find those that were drawn before.

    Raises:
        ConfigError: if one of them is no valid setting of the stage; nothing is written then.
        CheckpointError: if those that were drawn before cannot be read.
    """
    path = folder / PLAN_FILE
    if path.is_file():
        try:
            return [PlannedTrial(**trial) for trial in json.loads(path.read_text(encoding="utf-8"))]
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path} is no list of trials ({error}). Expected what the search wrote. Put it "
                "back, or search anew under another run.name."
            ) from error
    trials = _draw(config.search, config.base, seed=config.run.seed)
    for trial in trials:
        trial_config(config, trial, folder=folder)
    if config.search.algorithm == "optuna":
        _check_some_draw(config, folder)
    return trials


def num_trials(search: SearchConfig, planned: Sequence[PlannedTrial]) -> int:
    """Return how many trials there will be: Optuna's are not drawn all at once."""
    return search.num_trials if search.algorithm == "optuna" else len(planned)


def keep_trials(trials: Sequence[PlannedTrial], folder: Path) -> None:
    """Write the trials down, so that the same command finds the same ones."""
    write_json(folder / PLAN_FILE, [asdict(trial) for trial in trials])


def trial_config(config: AnySearch, trial: PlannedTrial, *, folder: Path) -> AnyStageConfig:
    """Return the settings of a trial's run, which lies in the folder of the search.

    Raises:
        ConfigError: if the changes do not fit the stage or one another.
    """
    place = {"name": trial.name, "output_dir": str(folder / TRIALS_FOLDER)}
    base = config.base.model_copy(
        update={
            "run": config.base.run.model_copy(update=place),
            "cluster": _shared_cores(config.base.cluster, at_once=config.search.max_concurrent),
        }
    )
    try:
        return change_config(base, trial.overrides)
    except ConfigError as error:
        raise ConfigError(
            f"search.space offers {', '.join(trial.overrides)}, which cannot be trained: "
            f"{error.message} Take that value or that combination out of it."
        ) from error


def _shared_cores(cluster: ClusterConfig, *, at_once: int) -> ClusterConfig:
    """Let trials that run at the same time share the cores: each would take all of them."""
    if at_once == 1 or cluster.cpus_per_worker is not None:
        return cluster
    threads = max(1, num_cores() // (at_once * cluster.most_workers))
    return cluster.model_copy(update={"cpus_per_worker": threads})


def _draw(search: SearchConfig, base: AnyStageConfig, *, seed: int) -> list[PlannedTrial]:
    dimensions = search.dimensions
    if search.algorithm == "grid":
        values = [dimension.values for dimension in dimensions]
        drawn = [
            dict(zip((d.key for d in dimensions), row, strict=True))
            for row in itertools.product(*values)
        ]
        drawn = [changes for changes in drawn if not _is_base(base, changes)]
    elif search.algorithm == "optuna":
        drawn = []  # each once the trials before it have measured something
    else:
        drawn = _draw_at_random(dimensions, search.num_trials - 1, seed=seed)
    return [PlannedTrial(number, changes) for number, changes in enumerate([{}, *drawn])]


def _draw_at_random(
    dimensions: Sequence[Dimension], number: int, *, seed: int
) -> list[dict[str, JsonValue]]:
    random = np.random.RandomState(seed % 2**32)  # what Tune's domains take; it has 32 bits
    return [
        {dimension.key: _draw_value(dimension, random) for dimension in dimensions}
        for _ in range(number)
    ]


def _check_some_draw(config: AnySearch, folder: Path) -> None:
    """Refuse a space that holds nothing to train, which Optuna would meet after `base` alone.

    Raises:
        ConfigError: of the last draw, if none can be trained.
    """
    refused: ConfigError | None = None
    for changes in _draw_at_random(config.search.dimensions, MAX_DRAWS, seed=config.run.seed):
        try:
            trial_config(config, PlannedTrial(1, changes), folder=folder)
        except ConfigError as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused


def _is_base(base: AnyStageConfig, changes: Mapping[str, JsonValue]) -> bool:
    """Tell whether a point of the grid is what trial 0 is already."""
    overrides = [f"{key}={format_scalar(value)}" for key, value in changes.items()]
    try:
        return change_config(base, overrides) == base
    except ConfigError:
        return False  # told of when the trials are checked


def _draw_value(dimension: Dimension, random: np.random.RandomState) -> JsonValue:
    value: JsonValue = tune_domain(dimension).sample(random_state=random)
    return value if dimension.draw == "choice" else rounded(value)


def tune_domain(dimension: Dimension) -> Domain:
    """Return what Ray Tune draws a dimension's values from."""
    if dimension.draw == "choice":
        return tune.choice(dimension.values)
    low, high = (float(str(value)) for value in dimension.values)
    return tune.uniform(low, high) if dimension.draw == "uniform" else tune.loguniform(low, high)


def rounded(value: JsonValue) -> JsonValue:
    """Return a number as precise as anyone would write it; anything else as it is."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
