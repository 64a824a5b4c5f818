import math

import pytest
from ray.tune.search.optuna import optuna_search

from phiray.config.load import load_search
from phiray.config.search import AnySearch
from phiray.errors import ConfigError
from phiray.jobs.search.optuna_draws import OptunaSampler, check_optuna
from phiray.jobs.search.plan import PlannedTrial

RATE, KIND = "training.learning_rate", "projector.kind"
SPACE = f"search.space=['{RATE}=loguniform(1e-4, 1e-1)', '{KIND}=choice(linear, mlp)']"
BEST_RATE = 3e-3


def search(*changes: str) -> AnySearch:
    return load_search("tiny", "projector", overrides=["search.algorithm=optuna", SPACE, *changes])


def score(trial: PlannedTrial) -> float:
    """Stand for a training: best at one rate, and with one kind."""
    rate = float(str(trial.changes[RATE]))
    return abs(math.log(rate / BEST_RATE)) + (trial.changes[KIND] == "linear")


def run(sampler: OptunaSampler, numbers: range) -> list[PlannedTrial]:
    drawn = []
    for number in numbers:
        drawn.append(sampler.draw(number))
        sampler.tell(drawn[-1], score(drawn[-1]))
    return drawn


def test_draws_lie_in_the_space_and_are_those_of_the_seed() -> None:
    config = search("search.num_trials=6")
    drawn = run(OptunaSampler(config, num_planned=1), range(1, 6))
    assert [trial.number for trial in drawn] == [1, 2, 3, 4, 5]
    for trial in drawn:
        assert 1e-4 <= float(str(trial.changes[RATE])) <= 1e-1
        assert trial.changes[KIND] in ("linear", "mlp")
    assert run(OptunaSampler(config, num_planned=1), range(1, 6)) == drawn
    assert run(OptunaSampler(config, num_planned=2), range(1, 6)) != drawn


def test_choices_are_drawn_as_they_are() -> None:
    space = f"search.space=['{RATE}=choice(0.00123456, 0.00234567)']"
    drawn = OptunaSampler(search("search.num_trials=6", space), num_planned=1).draw(1)
    assert drawn.changes[RATE] in (0.00123456, 0.00234567)


def test_later_draws_learn_from_what_was_told() -> None:
    sampler = OptunaSampler(search("search.num_trials=40"), num_planned=1)
    drawn = run(sampler, range(1, 41))
    first, last = (
        sum(score(trial) for trial in part) / len(part) for part in (drawn[:10], drawn[-10:])
    )
    assert last < first / 2
    assert sum(trial.changes[KIND] == "mlp" for trial in drawn[-10:]) >= 8


def test_what_an_earlier_start_measured_counts_as_if_it_had_been_drawn() -> None:
    config = search("search.num_trials=20")
    sampler = OptunaSampler(config, num_planned=12)
    for number in range(1, 11):
        rate = BEST_RATE * (1 + number / 100)
        sampler.tell(PlannedTrial(number, {RATE: rate, KIND: "mlp"}), number / 100)
        sampler.tell(PlannedTrial(number + 10, {RATE: 1e-1 / number, KIND: "linear"}), 5.0)
    drawn = run(sampler, range(21, 31))
    assert sum(trial.changes[KIND] == "mlp" for trial in drawn) >= 8


@pytest.mark.parametrize("figure", [None, math.nan, math.inf])
def test_what_failed_in_an_earlier_start_counts_as_bad(figure: float | None) -> None:
    sampler = OptunaSampler(search("search.num_trials=20"), num_planned=20)
    for number in range(10):
        rate = 1e-4 * 2**number  # over all of the space
        sampler.tell(PlannedTrial(number, {RATE: rate, KIND: "mlp"}), 5.0)
        sampler.tell(PlannedTrial(number + 10, {RATE: rate, KIND: "linear"}), figure)
    drawn = [sampler.draw(number) for number in range(20, 30)]
    assert sum(trial.changes[KIND] == "mlp" for trial in drawn) >= 8


def test_base_outside_the_space_is_passed_over_and_a_failed_draw_is_told() -> None:
    config = search("base.training.learning_rate=0.5")
    sampler = OptunaSampler(config, num_planned=1)
    sampler.tell(PlannedTrial(0, {}), 1.0)  # its rate cannot be drawn
    sampler.tell(sampler.draw(1), None)
    assert sampler.draw(2).number == 2


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    check_optuna()
    monkeypatch.setattr(optuna_search, "ot", None)
    with pytest.raises(ConfigError, match=r"pip install \"phiray\[optuna\]\""):
        check_optuna()
