from pathlib import Path

import pytest

from phiray.config.load import load_search
from phiray.config.search import AnySearch
from phiray.errors import CheckpointError, ConfigError
from phiray.jobs.search.plan import PLAN_FILE, keep_trials, plan_trials, trial_config
from phiray.node import num_cores

SPACE = "search.space=['projector.num_layers=choice(1, 2, 3)', 'projector.kind=choice(mlp)']"


def search(*changes: str) -> AnySearch:
    return load_search("tiny", "projector", overrides=changes)


def test_trials_are_drawn_once_and_the_first_is_base(tmp_path: Path) -> None:
    config = search("search.num_trials=5")
    trials = plan_trials(config, tmp_path)
    assert [trial.number for trial in trials] == list(range(5))
    assert trials[0].changes == {}
    assert plan_trials(config, tmp_path) == trials  # of the same seed
    other = search("search.num_trials=5", "run.seed=1")
    assert plan_trials(other, tmp_path) != trials
    keep_trials(trials, tmp_path)
    assert plan_trials(other, tmp_path) == trials


def test_draws_lie_within_the_space(tmp_path: Path) -> None:
    for trial in plan_trials(search("search.num_trials=40"), tmp_path)[1:]:
        assert trial.changes["projector.kind"] in ("linear", "mlp", "moe")
        assert 1e-3 <= float(str(trial.changes["training.learning_rate"])) <= 3e-2


def test_a_grid_is_every_combination_and_base_once(tmp_path: Path) -> None:
    trials = plan_trials(search(SPACE, "search.algorithm=grid"), tmp_path)
    assert [trial.changes.get("projector.num_layers") for trial in trials] == [None, 1, 3]


def test_a_trial_that_cannot_be_trained_is_refused_before_any_runs(tmp_path: Path) -> None:
    space = "search.space=['training.warmup_steps=choice(100000)']"
    with pytest.raises(ConfigError, match=r"offers training\.warmup_steps=100000, which cannot"):
        plan_trials(search(space), tmp_path)
    assert not (tmp_path / PLAN_FILE).exists()


def test_a_setting_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"projector\.depth is not a setting"):
        plan_trials(search("search.space=['projector.depth=choice(1)']"), tmp_path)


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("projector.depth=choice(1)", r"projector\.depth is not a setting"),
        ("projector.kind=choice(lin, mpl)", "It must be linear, mlp or moe"),
        ("training.warmup_steps=choice(100000)", "which cannot be trained"),
    ],
)
def test_optunas_space_is_refused_before_base_runs_if_nothing_can_be_trained(
    tmp_path: Path, space: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        plan_trials(search("search.algorithm=optuna", f"search.space=['{space}']"), tmp_path)


def test_optuna_plans_base_alone_where_some_combination_can_be_trained(tmp_path: Path) -> None:
    space = "search.space=['training.warmup_steps=choice(10, 100000)']"
    trials = plan_trials(search("search.algorithm=optuna", space), tmp_path)
    assert [trial.changes for trial in trials] == [{}]


def test_a_trial_is_a_run_in_the_folder_of_the_search(tmp_path: Path) -> None:
    config = search(SPACE, "search.algorithm=grid")
    trial = plan_trials(config, tmp_path)[2]
    settings = trial_config(config, trial, folder=tmp_path)
    assert (settings.run.name, settings.run.output_dir) == ("trial-002", str(tmp_path / "trials"))
    assert settings.model_dump()["projector"]["num_layers"] == 3


def test_a_list_of_trials_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / PLAN_FILE).write_text("[{}]")
    with pytest.raises(CheckpointError, match=r"trials\.json is no list of trials"):
        plan_trials(search(), tmp_path)


def test_every_seed_of_a_run_draws_trials(tmp_path: Path) -> None:
    assert plan_trials(search("run.seed=9000000000"), tmp_path)


def test_trials_at_the_same_time_share_the_cores(tmp_path: Path) -> None:
    config = search(f"search.max_concurrent={num_cores()}")
    trial = plan_trials(config, tmp_path)[0]
    assert trial_config(config, trial, folder=tmp_path).cluster.cpus_per_worker == 1
    alone = trial_config(search(), trial, folder=tmp_path)
    assert alone.cluster.cpus_per_worker is None
