from pathlib import Path

import pytest

from phiray.config.load import config_from_yaml, load_config, load_search
from phiray.errors import ConfigError
from phiray.jobs.cluster.commands import (
    eval_command,
    prepare_command,
    train_command,
    tune_command,
)

PLACES = ["run.output_dir=/s/runs", "data.root=/s/data"]


def test_a_run_is_sent_with_all_its_settings_and_goes_on_when_sent_again() -> None:
    config = load_config("tiny", "scratch", overrides=PLACES)
    command = train_command(config, resume=False)
    assert (command.words, command.name) == (["train", "scratch"], "scratch")
    assert command.settings is not None
    assert config_from_yaml(command.settings, origin="settings") == config
    assert (list(command.first_flags), list(command.later_flags)) == ([], ["--auto-resume"])
    resumed = train_command(config, resume=True)
    assert list(resumed.first_flags) == ["--resume"]
    assert resumed.digest == command.digest  # it is the same run, however it was begun
    longer = load_config("tiny", "scratch", overrides=[*PLACES, "training.max_steps=900"])
    assert train_command(longer, resume=False).digest != command.digest


def test_preparation_is_sent_with_all_its_settings_and_again_when_repeated() -> None:
    config = load_config("tiny", "litgpt", overrides=PLACES)
    command = prepare_command(config)
    assert (command.words, command.name) == (["data", "prepare", "litgpt"], "prepare-litgpt")
    assert command.is_repeated
    assert config_from_yaml(command.settings or "", origin="settings") == config
    with pytest.raises(ConfigError, match=r"run\.output_dir is 'runs'; data\.root is"):
        prepare_command(load_config("tiny", "litgpt"))


def test_paths_of_this_machine_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"run\.output_dir is 'runs'; data\.root is"):
        train_command(load_config("tiny", "align"), resume=False)
    places = [*PLACES, "language_model=/s/runs/scratch"]
    with pytest.raises(ConfigError, match=r"^vision\.weights is 'phiray-demo/clip'"):
        train_command(load_config("tiny", "align", overrides=places), resume=False)
    places += ["vision.weights=/s/clip"]
    train_command(load_config("tiny", "align", overrides=places), resume=False)
    with pytest.raises(ConfigError, match=r"^checkpoint is "):
        train_command(load_config("tiny", "instruct", overrides=PLACES), resume=False)


def test_a_tag_of_open_clip_is_no_path() -> None:
    places = [*PLACES, "language_model=/s/models/phi-2"]
    train_command(load_config("phi-2", "align", overrides=places), resume=False)
    places.append("data.root=file:///s/data")  # nor is a URL one of this machine
    train_command(load_config("phi-2", "align", overrides=places), resume=False)


def test_a_search_is_sent_as_it_is_and_goes_on_by_itself() -> None:
    places = [f"base.{place}" for place in PLACES]
    with pytest.raises(ConfigError, match=r"^run\.output_dir is 'runs'\. "):
        tune_command(load_search("tiny", "moe", overrides=places))
    with pytest.raises(ConfigError, match=r"^base\.run\.output_dir is 'runs'; base\.data\.root is"):
        tune_command(load_search("tiny", "moe", overrides=PLACES[:1]))
    command = tune_command(load_search("tiny", "moe", overrides=[*places, PLACES[0]]))
    assert (command.words, command.name) == (["tune", "moe"], "tune-moe")
    assert "num_trials: 8" in str(command.settings)
    assert not command.first_flags
    assert not command.later_flags


def eval_name(path: str) -> tuple[str, bool]:
    command = eval_command("caption", Path(path), data=None, changes=[])
    return command.name, command.is_repeated


def test_an_evaluation_is_named_by_suite_run_and_step() -> None:
    assert eval_name("/s/runs/a/checkpoints/step-00000100") == ("eval-caption-a-step-100", False)
    assert eval_name("/s/runs/a/checkpoints/step-00000000") == ("eval-caption-a-step-0", False)


def test_a_run_stands_for_its_newest_checkpoint_and_is_scored_each_time() -> None:
    assert eval_name("/s/runs/a") == ("eval-caption-a", True)
    assert eval_name("/s/runs/b/../my a/") == ("eval-caption-my-a", True)


def test_an_evaluation_carries_its_settings_in_its_words() -> None:
    path = Path("/s/runs/a")
    command = eval_command("lm", path, data="/d", changes=["seed=3", "max_documents=2"])
    sets = ["--set", "seed=3", "--set", "max_documents=2"]
    assert command.words == ["eval", "lm", "/s/runs/a", "--data", "/d", *sets]
    assert command.settings is None
    other = eval_command("lm", Path("/t/runs/a"), data=None, changes=[])
    assert (other.name, other.digest != command.digest) == (command.name, True)
    with pytest.raises(ConfigError, match="CHECKPOINT is 'runs/a'; --data is 'd'"):
        eval_command("lm", Path("runs/a"), data="d", changes=[])


def test_other_data_may_lie_at_a_url() -> None:
    command = eval_command("caption", Path("/s/runs/a"), data="s3://bucket/data", changes=[])
    assert command.words[-2:] == ["--data", "s3://bucket/data"]
    with pytest.raises(ConfigError, match=r"^--data: the URL holds user:password@") as caught:
        eval_command("caption", Path("/s/runs/a"), data="s3://me:secret@bucket", changes=[])
    assert "secret" not in caught.value.message
