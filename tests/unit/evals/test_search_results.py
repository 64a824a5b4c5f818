from dataclasses import replace

import pytest

from tests.unit.evals.search_builders import build_summary


def test_steps_spent_are_those_of_all_trials() -> None:
    summary = build_summary()
    assert summary.steps_spent == 82
    assert summary.spent_fraction == pytest.approx(82 / 150)


def test_a_trial_tells_its_last_figure_and_its_changes() -> None:
    trials = build_summary().trials
    assert [trial.validation_nats for trial in trials] == [1.25, 3.0, 0.5, 2.5, None]
    assert [trial.told_changes for trial in trials[:2]] == ["base", "projector.kind=linear"]


@pytest.mark.parametrize(
    ("ci95", "higher_is_better", "expected"),
    [
        ((-1.0, -0.5), False, "better than base"),
        ((-1.0, -0.5), True, "worse than base"),
        ((-1.0, 0.5), False, "No difference"),
    ],
)
def test_verdict_follows_the_interval(
    ci95: tuple[float, float], higher_is_better: bool, expected: str
) -> None:
    found = build_summary().confirmation
    assert found is not None
    assert expected in replace(found, ci95=ci95, higher_is_better=higher_is_better).verdict
