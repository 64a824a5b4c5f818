import json
from pathlib import Path

import pytest
import ray
from ray.tune.search.optuna import optuna_search

from phiray.config.load import load_search
from phiray.config.show import yaml_from_config
from phiray.errors import CheckpointError, ClusterError, ConfigError, ExitCode
from phiray.jobs.search.log import SearchLog, TrialEnd, TrialResult
from phiray.jobs.search.plan import TRIALS_FOLDER
from phiray.jobs.search.run import (
    BEST_FILE,
    PAGE_FILE,
    SETTINGS_FILE,
    run_search,
)
from phiray.node import num_cores
from tests.displays import SilentDisplay


def finished_search(folder: Path) -> None:
    """Write what a search of two trials leaves; the second was stopped."""
    log = SearchLog(folder)
    for step, nats in ((62, 2.0), (500, 1.0)):
        log.add(TrialResult(0, step, nats))
    log.add(TrialResult(1, 62, 3.0))
    log.add(TrialEnd(0, "complete"))
    log.add(TrialEnd(1, "stopped"))
    for name, step in (("trial-000", 500), ("trial-001", 64)):
        run_dir = folder / TRIALS_FOLDER / name
        run_dir.mkdir(parents=True)
        (run_dir / "metrics.jsonl").write_text(json.dumps({"step": step, "label_tokens": 7}) + "\n")


def test_a_finished_search_is_summed_up_without_ray(tmp_path: Path) -> None:
    config = load_search(
        "tiny", "projector", overrides=["search.num_trials=2", f"run.output_dir={tmp_path}"]
    )
    folder = tmp_path / "tune-projector"
    folder.mkdir()
    (folder / SETTINGS_FILE).write_text(yaml_from_config(config))
    finished_search(folder)
    summary = run_search(config, display=SilentDisplay())
    assert summary.best == 0
    assert [(t.ending, t.steps) for t in summary.trials] == [("complete", 500), ("stopped", 64)]
    assert summary.spent_fraction == 564 / 1000
    assert summary.confirmation is None
    assert "stage: align" in (folder / BEST_FILE).read_text()
    assert "trial 1" in (folder / PAGE_FILE).read_text()


def test_a_search_with_other_settings_is_refused(tmp_path: Path) -> None:
    config = load_search("tiny", "moe", overrides=[f"run.output_dir={tmp_path}"])
    folder = tmp_path / "tune-moe"
    folder.mkdir()
    other = load_search("tiny", "moe", overrides=["search.num_trials=9"])
    (folder / SETTINGS_FILE).write_text(yaml_from_config(other))
    with pytest.raises(ConfigError, match=r"search\.num_trials was 9, now 8"):
        run_search(config, display=SilentDisplay())


def test_a_search_without_optuna_installed_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna_search, "ot", None)  # as where the import fails
    changes = [f"run.output_dir={tmp_path}", "search.algorithm=optuna"]
    config = load_search("tiny", "projector", overrides=changes)
    with pytest.raises(ConfigError, match=r"Install it with pip install \"phiray\[optuna\]\""):
        run_search(config, display=SilentDisplay())
    assert list(tmp_path.iterdir()) == []


def test_home_is_meant_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_search("tiny", "moe", overrides=["run.output_dir=~/runs"])
    (tmp_path / "runs/tune-moe").mkdir(parents=True)
    (tmp_path / "runs/tune-moe/else").touch()
    with pytest.raises(CheckpointError, match=f"{tmp_path}/runs/tune-moe exists and holds no"):
        run_search(config, display=SilentDisplay())


def test_what_is_no_job_of_a_cluster_attaches_to_none_and_leaves_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    config = load_search("tiny", "moe", overrides=[f"run.output_dir={tmp_path}"])
    with pytest.raises(ClusterError, match="no job of a cluster"):
        run_search(config, display=SilentDisplay(), attach=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    config = load_search("tiny", "moe", overrides=[f"run.output_dir={tmp_path}"])
    (tmp_path / "tune-moe").mkdir()
    (tmp_path / "tune-moe" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds no search") as caught:
        run_search(config, display=SilentDisplay())
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_more_trials_at_once_than_cores_are_refused(tmp_path: Path) -> None:
    many = num_cores() + 1
    config = load_search("tiny", "moe", overrides=[f"search.max_concurrent={many}"])
    with pytest.raises(ConfigError, match=f"max_concurrent is {many}, and each trial has 1"):
        run_search(config, display=SilentDisplay())


def test_when_a_search_ends_may_change_and_what_it_tries_may_not(tmp_path: Path) -> None:
    place = ["search.num_trials=2", f"run.output_dir={tmp_path}", "search.confirm_seeds=0"]
    folder = tmp_path / "tune-projector"
    folder.mkdir()
    config = load_search("tiny", "projector", overrides=place)
    (folder / SETTINGS_FILE).write_text(yaml_from_config(config))
    finished_search(folder)
    longer = load_search("tiny", "projector", overrides=[*place, "search.max_label_tokens=9"])
    first = run_search(longer, display=SilentDisplay())
    assert "max_label_tokens: 9" in (folder / SETTINGS_FILE).read_text()
    assert run_search(longer, display=SilentDisplay()) == first
    rarer = [*place, "base.training.checkpoint_every_steps=7"]
    with pytest.raises(ConfigError, match=r"base\.training\.checkpoint_every_steps was 62, now 7"):
        run_search(load_search("tiny", "projector", overrides=rarer), display=SilentDisplay())


def test_a_mistake_in_the_space_leaves_no_folder(tmp_path: Path) -> None:
    changes = [f"run.output_dir={tmp_path}", "search.space=['training.warmup_steps=choice(90000)']"]
    config = load_search("tiny", "projector", overrides=changes)
    with pytest.raises(ConfigError, match="which cannot be trained"):
        run_search(config, display=SilentDisplay())
    assert list(tmp_path.iterdir()) == []


def test_a_trial_that_a_limit_cut_off_is_told_from_one_that_never_ran(tmp_path: Path) -> None:
    place = ["search.num_trials=3", f"run.output_dir={tmp_path}", "search.max_label_tokens=1"]
    folder = tmp_path / "tune-projector"
    folder.mkdir()
    config = load_search("tiny", "projector", overrides=place)
    (folder / SETTINGS_FILE).write_text(yaml_from_config(config))
    finished_search(folder)
    lines = (folder / "results.jsonl").read_text().splitlines()
    (folder / "results.jsonl").write_text("\n".join(lines[:-1]) + "\n")  # the second's ending
    summary = run_search(config, display=SilentDisplay())
    assert [trial.ending for trial in summary.trials] == ["complete", "cut off", "not run"]
