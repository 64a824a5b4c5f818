import threading
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.tune import TuneConfig
from ray.tune.search import Searcher

from phiray.config.load import load_search
from phiray.config.search import AnySearch
from phiray.errors import ConfigError
from phiray.jobs.search import suggest
from phiray.jobs.search.log import SearchLog, TrialEnd, TrialResult
from phiray.jobs.search.plan import PlannedTrial, keep_trials, plan_trials
from phiray.jobs.search.suggest import PlannedSearcher
from phiray.jobs.search.trial import TrialPayload
from phiray.training.loop import VALIDATION_METRIC

OPTUNA = ("search.algorithm=optuna", "search.num_trials=4")


class Begun:
    """Collects the trials that start."""

    def __init__(self) -> None:
        self.trials: list[PlannedTrial] = []

    def __call__(self, trial: PlannedTrial) -> dict[str, TrialPayload]:
        self.trials.append(trial)
        return {
            "trial": TrialPayload(
                search={}, folder="", number=trial.number, changes={}, attach=False
            )
        }

    @property
    def numbers(self) -> list[int]:
        return [trial.number for trial in self.trials]


def search(*changes: str) -> AnySearch:
    return load_search("tiny", "projector", overrides=changes)


def searcher(config: AnySearch, folder: Path, begun: Begun) -> PlannedSearcher:
    planned = plan_trials(config, folder)
    keep_trials(planned, folder)
    return PlannedSearcher(config, planned, folder=folder, log=SearchLog(folder), begin=begun)


def run_all(giving: PlannedSearcher) -> None:
    for number in range(100):
        if giving.suggest(f"t{number}") == Searcher.FINISHED:
            return
        giving.on_trial_complete(f"t{number}", result={VALIDATION_METRIC: 1.0 / (number + 1)})
    raise AssertionError("it gives trials without end")


def test_planned_trials_are_given_in_their_order(tmp_path: Path) -> None:
    config, begun = search("search.num_trials=3"), Begun()
    run_all(searcher(config, tmp_path, begun))
    assert begun.trials == plan_trials(config, tmp_path)
    assert begun.numbers == [0, 1, 2]


def test_trials_that_ended_are_not_given_again(tmp_path: Path) -> None:
    config, begun, log = search("search.num_trials=3"), Begun(), SearchLog(tmp_path)
    log.add(TrialEnd(1, "stopped"))
    run_all(searcher(config, tmp_path, begun))
    assert begun.numbers == [0, 2]


def test_drawn_trials_are_written_down_before_they_start_and_go_on_after_a_kill(
    tmp_path: Path,
) -> None:
    config, begun = search(*OPTUNA), Begun()
    giving = searcher(config, tmp_path, begun)
    assert begun.numbers == []
    for name in ("a", "b"):
        giving.suggest(name)
        assert plan_trials(config, tmp_path) == [
            *begun.trials,
            *([] if begun.trials else [PlannedTrial(0, {})]),
        ]
    log = SearchLog(tmp_path)
    log.add(TrialResult(0, 10, 2.0))
    log.add(TrialEnd(0, "complete"))  # the driver dies in trial 1
    again = Begun()
    run_all(searcher(config, tmp_path, again))
    assert again.numbers == [1, 2, 3]
    assert again.trials[0] == begun.trials[1]
    assert [trial.number for trial in plan_trials(config, tmp_path)] == [0, 1, 2, 3]


def test_draws_that_cannot_be_trained_are_passed_over(tmp_path: Path) -> None:
    space = "search.space=['training.warmup_steps=choice(10, 100000)']"
    begun = Begun()
    run_all(searcher(search(*OPTUNA, "search.num_trials=8", space), tmp_path, begun))
    warmups = [trial.changes["training.warmup_steps"] for trial in begun.trials[1:]]
    assert warmups == [10] * 7


def test_a_space_that_holds_nothing_to_train_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggest, "MAX_DRAWS", 3)
    space = "search.space=['training.warmup_steps=choice(100000)']"
    giving = PlannedSearcher(
        search(*OPTUNA, space),
        [PlannedTrial(0, {})],
        folder=tmp_path,
        log=SearchLog(tmp_path),
        begin=Begun(),
    )
    giving.suggest("base")
    with pytest.raises(ConfigError, match=r"3 draws of search\.space gave nothing"):
        giving.suggest("first")


def test_a_failed_trial_does_not_end_the_draws(tmp_path: Path) -> None:
    begun = Begun()
    giving = searcher(search(*OPTUNA), tmp_path, begun)
    for name in ("base", "first", "second"):
        giving.suggest(name)
        giving.on_trial_complete(name, error=name == "first")
    giving.suggest("third")
    assert begun.numbers == [0, 1, 2, 3]


def test_trials_that_failed_in_an_earlier_start_are_told_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[int, float | None] = {}

    class Sampler:
        def __init__(self, config: AnySearch, *, num_planned: int) -> None: ...

        def tell(self, trial: PlannedTrial, validation_nats: float | None) -> None:
            told[trial.number] = validation_nats

    monkeypatch.setattr(suggest, "OptunaSampler", Sampler)
    keep_trials([PlannedTrial(number, {}) for number in range(5)], tmp_path)
    log = SearchLog(tmp_path)
    for number, nats in ((0, 2.0), (1, 3.0), (2, 4.0), (4, 5.0)):
        log.add(TrialResult(number, 10, nats))
    log.add(TrialEnd(0, "complete"))
    log.add(TrialEnd(1, "stopped"))
    log.add(TrialEnd(2, "failed"))  # after a measurement
    log.add(TrialEnd(3, "failed"))  # before any
    searcher(search(*OPTUNA), tmp_path, Begun())
    assert told == {0: 2.0, 1: 3.0, 2: None, 3: None}


def test_tunes_record_of_a_search_holds_nothing_that_cannot_be_pickled(tmp_path: Path) -> None:
    lock = threading.Lock()  # as a display has

    def begin(trial: PlannedTrial) -> dict[str, TrialPayload]:
        with lock:
            return Begun()(trial)

    config = search(*OPTUNA)
    giving = PlannedSearcher(
        config, plan_trials(config, tmp_path), folder=tmp_path, log=SearchLog(tmp_path), begin=begin
    )
    assert cloudpickle.dumps(TuneConfig(search_alg=giving))  # as Tune does before it begins
