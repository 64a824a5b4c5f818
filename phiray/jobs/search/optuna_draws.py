"""Draw each trial of a search from what earlier ones measured, by Optuna.

Source: Ray Tune's OptunaSearch around Optuna's TPE sampler (Bergstra et al. 2011).
Limits: needs the extra `phiray[optuna]`. Told anew at each start of a search, with another seed, so
that it does not draw the same again.
"""

import logging
import math

from pydantic import JsonValue
from ray.tune.search.optuna import OptunaSearch, optuna_search

from phiray.config.load import value_at
from phiray.config.search import AnySearch, Dimension
from phiray.errors import ConfigError
from phiray.jobs.search.plan import PlannedTrial, rounded, tune_domain
from phiray.training.loop import VALIDATION_METRIC

_MAX_RANDOM_TRIALS = 10
"""Drawn at random before the sampler learns: Optuna's own default; short searches take half."""


def check_optuna() -> None:
    """Refuse a search that the package is missing for.

    Raises:
        ConfigError: with the command that installs it.
    """
    if optuna_search.ot is None:
        raise ConfigError(
            "search.algorithm is optuna, but that package is not installed. It is an extra of "
            'phiray. Install it with pip install "phiray[optuna]", or take algorithm=random.'
        )


class OptunaSampler:
    """Draws trials, and is told what came of them."""

    def __init__(self, config: AnySearch, *, num_planned: int) -> None:
        """Begin with nothing told; `num_planned` trials were planned by earlier starts."""
        search = config.search
        self._base, self._dimensions = config.base, search.dimensions
        optuna_search.ot.logging.set_verbosity(logging.WARNING)
        self._sampling = OptunaSearch(
            OptunaSearch.convert_search_space(
                {item.key: tune_domain(item) for item in self._dimensions}
            ),
            metric=VALIDATION_METRIC,
            mode="min",
            sampler=optuna_search.ot.samplers.TPESampler(
                seed=(config.run.seed + num_planned) % 2**32,
                n_startup_trials=min(_MAX_RANDOM_TRIALS, search.num_trials // 2),
            ),
        )
        self._num_draws = 0
        self._drawn: dict[int, str] = {}
        """By the number of a trial, Optuna's name of the draw that it is."""

    def draw(self, number: int) -> PlannedTrial:
        """Draw the trial of this number."""
        self._num_draws += 1
        name = self._drawn[number] = f"draw-{self._num_draws}"
        values = self._sampling.suggest(name)
        changes = {
            item.key: values[item.key] if item.draw == "choice" else rounded(values[item.key])
            for item in self._dimensions
        }
        return PlannedTrial(number, changes)

    def tell(self, trial: PlannedTrial, validation_nats: float | None) -> None:
        """Tell what a trial measured last; None if it failed, or could not be trained."""
        # without a result it counts as pruned, and so as bad: of an error, the sampler would learn
        # nothing, and draw the same again and again; no number is no result either
        has_failed = validation_nats is None or not math.isfinite(validation_nats)
        name = self._drawn.pop(trial.number, None)
        if name is not None:
            result = None if has_failed else {VALIDATION_METRIC: validation_nats}
            self._sampling.on_trial_complete(name, result=result)
            return
        point = {
            item.key: trial.changes.get(item.key, value_at(self._base, item.key))
            for item in self._dimensions
        }
        if all(_is_inside(item, point[item.key]) for item in self._dimensions):
            value = None if has_failed else validation_nats
            self._sampling.add_evaluated_point(point, value, pruned=has_failed)


def _is_inside(dimension: Dimension, value: JsonValue) -> bool:
    """Tell whether a value is one that could be drawn: that of `base` need not be."""
    if dimension.draw == "choice":
        return value in dimension.values
    low, high = (float(str(bound)) for bound in dimension.values)
    return isinstance(value, int | float) and low <= value <= high
