"""Ray's schedulers for a search: told what earlier starts measured, and gentle to what they stop.

Source: ASHA (arXiv 1810.05934) and the median rule (Golovin et al. 2017, Vizier), both Ray Tune's.
Tune would kill the actor of a stopped trial at once, and with it the controller of its training,
which then leaves a placement group behind (seen once in four stops): later trials wait for ever.
Limits: the decisions are Ray's; nothing here decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from phiray.config.search import SearchConfig, grace_steps
from phiray.jobs.search.log import TrialResult
from phiray.jobs.search.plan import PlannedTrial
from phiray.jobs.search.trial import STEP_METRIC
from phiray.jobs.stop import request_stop
from phiray.training.loop import VALIDATION_METRIC


class GentleScheduler(TrialScheduler):  # type: ignore[misc]  # Ray's class is untyped
    """Lets another scheduler decide, and asks a trial that it stops to end by itself."""

    def __init__(self, deciding: TrialScheduler, *, folder: Path) -> None:
        """Wrap a scheduler.

        Args:
            deciding: Ray's own.
            folder: of the trials' runs.
        """
        super().__init__()
        self._deciding = deciding
        self._folder = folder
        self._stopped: set[str] = set()

    # Any: Ray's controller and results; all is handed on.
    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Hand it on."""
        self._deciding.on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Hand it on."""
        self._deciding.on_trial_error(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Turn a stop into a request, which the trial's worker meets before its next step.

        What it measures until then is not told: the median rule takes no word of a stopped trial.
        """
        if trial.trial_id in self._stopped:
            return str(TrialScheduler.CONTINUE)
        decision = self._deciding.on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            self._stopped.add(trial.trial_id)
            number = trial.config["trial"]["number"]
            request_stop(self._folder / PlannedTrial(number, {}).name)
        return str(TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Hand it on."""
        self._deciding.on_trial_complete(tune_controller, trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Hand it on."""
        self._deciding.on_trial_remove(tune_controller, trial)

    # Any: Ray's controller.
    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Hand it on."""
        return self._deciding.choose_trial_to_run(tune_controller)

    def debug_string(self) -> str:
        """Hand it on."""
        return str(self._deciding.debug_string())


def build_scheduler(search: SearchConfig, *, max_steps: int) -> TrialScheduler:
    """Build Ray's own scheduler."""
    grace = grace_steps(search, max_steps=max_steps)
    if search.scheduler == "asha":
        return ASHAScheduler(
            time_attr=STEP_METRIC,
            metric=VALIDATION_METRIC,
            mode="min",
            # no rung at the last step: a trial there ends by itself, with its result written
            max_t=max_steps - 1,
            stop_last_trials=False,
            grace_period=grace,
            reduction_factor=search.reduction_factor,
        )
    if search.scheduler == "median":
        return MedianStoppingRule(
            time_attr=STEP_METRIC,
            metric=VALIDATION_METRIC,
            mode="min",
            grace_period=grace,
            # never pause a trial until others have more to compare: its workers would start anew
            min_time_slice=math.inf,
        )
    return FIFOScheduler()


def told_scheduler(
    search: SearchConfig, *, max_steps: int, results: Sequence[TrialResult]
) -> TrialScheduler:
    """Build Ray's scheduler, and tell it what trials of earlier starts measured, in that order."""
    scheduler = build_scheduler(search, max_steps=max_steps)
    told: dict[int, _Told] = {}
    stopped: set[int] = set()
    # cast: the schedulers look at no more of a trial than its name, and at nothing of a controller
    controller = cast(Any, None)
    for result in results:
        if result.trial in stopped:
            continue
        if result.trial not in told:
            told[result.trial] = _Told(PlannedTrial(result.trial, {}).name)
            scheduler.on_trial_add(controller, cast(Trial, told[result.trial]))
        measured = {STEP_METRIC: result.step, VALIDATION_METRIC: result.validation_nats}
        trial = cast(Trial, told[result.trial])
        if scheduler.on_trial_result(controller, trial, measured) == TrialScheduler.STOP:
            stopped.add(result.trial)
    return scheduler


@dataclass(frozen=True)
class _Told:
    """Stands for a trial of an earlier start, of which a scheduler needs no more than the name."""

    trial_id: str
