from pathlib import Path
from typing import Any, cast

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, TrialScheduler

from phiray.config.load import load_search
from phiray.config.search import SearchConfig
from phiray.jobs.search.log import TrialResult
from phiray.jobs.search.scheduler import GentleScheduler, build_scheduler, told_scheduler
from phiray.jobs.stop import is_stop_requested
from phiray.training.loop import VALIDATION_METRIC

MAX_STEPS = 90
FIRST, SECOND = 10, 30
"""ASHA's rungs for 90 steps and a reduction factor of 3."""


class Named:
    """A trial as far as a scheduler looks at it."""

    trial_id = "new"

    def __init__(self) -> None:
        self.config = {"trial": {"number": 7}}


def settings(scheduler: str = "asha") -> SearchConfig:
    return load_search("tiny", "moe", overrides=[f"search.scheduler={scheduler}"]).search


def decide(scheduler: TrialScheduler, *, step: int, nats: float) -> str:
    trial = cast(Trial, Named())  # cast: see Named
    controller = cast(Any, None)  # cast: no scheduler of ours looks at it
    if step == FIRST:
        scheduler.on_trial_add(controller, trial)
    result = {"step": step, VALIDATION_METRIC: nats}
    return str(scheduler.on_trial_result(controller, trial, result))


def test_asha_goes_on_from_what_earlier_starts_measured() -> None:
    told = [TrialResult(number, FIRST, nats) for number, nats in enumerate([1.0, 2.0, 3.0, 4.0])]
    # the best third of 1 2 3 4 ends at the 33rd percentile, 2.0
    assert (
        decide(told_scheduler(settings(), max_steps=MAX_STEPS, results=told), step=FIRST, nats=2.1)
        == "STOP"
    )
    assert (
        decide(told_scheduler(settings(), max_steps=MAX_STEPS, results=told), step=FIRST, nats=1.9)
        == "CONTINUE"
    )
    fresh = told_scheduler(settings(), max_steps=MAX_STEPS, results=[])
    assert decide(fresh, step=FIRST, nats=9.0) == "CONTINUE"


def test_asha_never_stops_a_trial_at_its_last_step() -> None:
    told = [TrialResult(0, step, 1.0) for step in (FIRST, SECOND, MAX_STEPS)]
    scheduler = told_scheduler(settings(), max_steps=MAX_STEPS, results=told)
    for step in (FIRST, SECOND):
        assert decide(scheduler, step=step, nats=0.5) == "CONTINUE"
    assert decide(scheduler, step=MAX_STEPS, nats=9.0) == "CONTINUE"


def test_median_stops_below_the_others_running_means() -> None:
    told = [TrialResult(number, 40, nats) for number, nats in enumerate([1.0, 2.0, 3.0])]
    scheduler = told_scheduler(settings("median"), max_steps=MAX_STEPS, results=told)
    decide(scheduler, step=FIRST, nats=5.0)
    assert decide(scheduler, step=40, nats=2.5) == "STOP"


def test_schedulers_are_rays_own() -> None:
    assert isinstance(build_scheduler(settings("none"), max_steps=9), FIFOScheduler)
    assert isinstance(build_scheduler(settings("median"), max_steps=9), MedianStoppingRule)


def test_a_stopped_trial_is_asked_to_end_by_itself(tmp_path: Path) -> None:
    told = [TrialResult(0, FIRST, 1.0)]
    deciding = told_scheduler(settings(), max_steps=MAX_STEPS, results=told)
    scheduler = GentleScheduler(deciding, folder=tmp_path)
    assert decide(scheduler, step=FIRST, nats=2.0) == "CONTINUE"
    assert is_stop_requested(tmp_path / "trial-007")


def test_a_good_trial_is_left_alone(tmp_path: Path) -> None:
    told = [TrialResult(0, FIRST, 1.0)]
    deciding = told_scheduler(settings(), max_steps=MAX_STEPS, results=told)
    scheduler = GentleScheduler(deciding, folder=tmp_path)
    assert decide(scheduler, step=FIRST, nats=0.5) == "CONTINUE"
    assert not is_stop_requested(tmp_path / "trial-007")


def test_what_a_stopped_trial_still_measures_is_not_told(tmp_path: Path) -> None:
    """Ray's median rule fails where a trial that it stopped reports again."""
    told = [TrialResult(number, step, 1.0) for number in range(4) for step in (FIRST, SECOND)]
    deciding = told_scheduler(settings("median"), max_steps=MAX_STEPS, results=told)
    scheduler = GentleScheduler(deciding, folder=tmp_path)
    for step in (FIRST, SECOND, SECOND + 10, SECOND + 20):
        assert decide(scheduler, step=step, nats=9.0) == "CONTINUE"
    assert is_stop_requested(tmp_path / "trial-007")


def test_a_stop_in_the_log_is_told_once() -> None:
    told = [TrialResult(number, FIRST, 1.0) for number in range(4)]
    told += [TrialResult(9, step, 9.0) for step in (FIRST, SECOND, SECOND + 10)]
    assert told_scheduler(settings("median"), max_steps=MAX_STEPS, results=told)
