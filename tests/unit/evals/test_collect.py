"""Runs as they lie on disk."""

from pathlib import Path

import pytest

from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.collect import TrainingCurve, collect_run, collect_runs
from tests.unit.evals.runs import write_align_runs, write_lm_runs


def test_collect_run_reads_settings_curve_and_suites(tmp_path: Path) -> None:
    run = collect_run(write_align_runs(tmp_path)[1])
    assert run.name == "align-scheduled-sampling"
    assert run.method == "scheduled-sampling"
    assert run.label_tokens == 2000
    assert run.curve.steps[-1] == 20
    assert run.curve.seconds == 10.0
    assert list(run.suites) == ["caption"]
    assert run.own_arms("caption") == ["align-scheduled-sampling"]
    assert run.own_arms("lm") == []


def test_collect_run_knows_its_arms_on_each_set(tmp_path: Path) -> None:
    run = collect_run(write_lm_runs(tmp_path)[0])
    assert run.own_arms("lm") == ["scratch@gutenberg", "scratch@redpajama"]
    assert run.method == "standard"


def test_collect_runs_refuses_two_of_one_name(tmp_path: Path) -> None:
    first = write_lm_runs(tmp_path / "a")[0]
    second = write_lm_runs(tmp_path / "b")[0]
    with pytest.raises(DataError, match="Several runs are named scratch"):
        collect_runs([first, second])


def test_collect_runs_refuses_a_run_that_is_named_twice(tmp_path: Path) -> None:
    first = write_lm_runs(tmp_path)[0]
    with pytest.raises(ConfigError, match="scratch is named 2 times"):
        collect_runs([first, first.parent / "." / first.name])


def test_collect_run_says_that_a_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run") as error:
        collect_run(tmp_path)
    assert error.value.exit_code is ExitCode.MISSING_INPUT


def test_collect_run_refuses_broken_settings(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("stage: fly\n")
    with pytest.raises(DataError, match="is not the settings of a stage"):
        collect_run(tmp_path)


def test_collect_run_refuses_metrics_without_numbers(tmp_path: Path) -> None:
    folder = write_lm_runs(tmp_path)[0]
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(DataError, match="label_tokens=None"):
        collect_run(folder)


def test_final_loss_is_the_mean_of_the_last_tenth() -> None:
    losses = [9.0] * 18 + [2.0, 4.0]
    assert TrainingCurve(list(range(1, 21)), losses, 0, 0.0).final_loss == 3.0
    assert TrainingCurve([1], [7.0], 0, 0.0).final_loss == 7.0
    assert TrainingCurve([], [], 0, 0.0).final_loss is None
