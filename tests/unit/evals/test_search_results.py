import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from phiray.evals.search_results import read_summary
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


@pytest.mark.parametrize("confirmed", [True, False])
def test_summary_comes_back_as_it_was_written(tmp_path: Path, confirmed: bool) -> None:
    summary, path = build_summary(confirmed=confirmed), tmp_path / "search.json"
    path.write_text(json.dumps(asdict(summary)))
    assert read_summary(path) == summary


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"trials": []}', None])
def test_summary_that_cannot_be_read_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "search.json"
    if text is not None:
        path.write_text(text)
    assert read_summary(path) is None
