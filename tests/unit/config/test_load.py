"""From a preset or a file, with changes, to checked settings."""

from pathlib import Path

import pytest

from phiray.config.load import (
    check_stage,
    config_from_file,
    config_from_yaml,
    load_config,
)
from phiray.config.presets import preset
from phiray.config.stages import AlignConfig, ScratchConfig
from phiray.config.training import ScheduledSamplingMethod, StandardMethod
from phiray.config.yaml_text import MAX_FILE_BYTES
from phiray.errors import ConfigError, ExitCode


def write(folder: Path, text: str) -> str:
    path = folder / "run.yaml"
    path.write_text(text)
    return str(path)


def test_load_config_of_a_preset_is_the_preset() -> None:
    assert load_config("tiny", "align") == preset("tiny", "align")


def test_load_config_takes_the_stage_from_the_file(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "stage: align\ntraining: {learning_rate: 1e-4}\n"))
    assert isinstance(config, AlignConfig)
    assert config.training.learning_rate == 1e-4


def test_load_config_applies_overrides_in_order_and_workers_last() -> None:
    config = load_config(
        "tiny",
        "scratch",
        overrides=["training.max_steps=30", "training.max_steps=40", "cluster.workers=5"],
        workers="2",
    )
    assert config.training.max_steps == 40
    assert config.cluster.workers == 2


def test_load_config_makes_an_optional_group_by_an_override() -> None:
    config = load_config(
        "phi-2", "scratch", overrides=["model.moe=null", "model.moe.num_experts=8"]
    )
    assert isinstance(config, ScratchConfig)
    assert config.model.moe is not None
    assert config.model.moe.num_experts == 8


def test_load_config_starts_a_union_anew_when_its_kind_changes(tmp_path: Path) -> None:
    source = write(tmp_path, "stage: align\nmethod: {kind: scheduled-sampling, end: 0.25}\n")
    kept = load_config(source, overrides=["method.kind=scheduled-sampling"])
    changed = load_config(source, overrides=["method.kind=standard"])
    assert isinstance(kept, AlignConfig)
    assert isinstance(changed, AlignConfig)
    assert isinstance(kept.method, ScheduledSamplingMethod)
    assert kept.method.end == 0.25
    assert changed.method == StandardMethod()


@pytest.mark.parametrize("end_first", [True, False])
def test_load_config_keeps_what_the_command_set_whatever_the_order(end_first: bool) -> None:
    changes = ["method.end=0.9", "method.kind=scheduled-sampling"]
    config = load_config("tiny", "align", overrides=changes if end_first else changes[::-1])
    assert isinstance(config, AlignConfig)
    assert isinstance(config.method, ScheduledSamplingMethod)
    assert config.method.end == 0.9


def test_load_config_tells_of_a_change_that_the_new_kind_has_no_place_for() -> None:
    changes = ["method.end=0.9", "method.kind=scheduled-sampling", "method.kind=standard"]
    with pytest.raises(ConfigError, match=r"--set method\.end=0\.9: method\.end is not a setting"):
        load_config("tiny", "align", overrides=changes)


def test_load_config_takes_an_alias_for_the_kind_that_it_names(tmp_path: Path) -> None:
    source = write(tmp_path, "stage: align\nmethod: {kind: scheduled-sampling, end: 0.25}\n")
    config = load_config(source, overrides=["method.kind=autoregressive"])
    assert isinstance(config, AlignConfig)
    assert config.method == ScheduledSamplingMethod(kind="autoregressive", end=0.25)


def test_load_config_keeps_the_siblings_of_a_kind_that_is_no_union() -> None:
    config = load_config(
        "tiny", "align", overrides=["projector.num_experts=3", "projector.kind=moe"]
    )
    assert isinstance(config, AlignConfig)
    assert config.projector.num_experts == 3


def test_load_config_names_file_line_and_override(tmp_path: Path) -> None:
    source = write(tmp_path, "stage: align\ntraining:\n  learning_rat: 1\n")
    with pytest.raises(ConfigError, match=r"run.yaml:3: training.learning_rat is not") as caught:
        load_config(source, overrides=["training.max_steps=0"], workers="3:2")
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("--set training.max_steps=0: training.max_steps is 0.")
    assert "max_workers is 2, but workers is 3" in lines[2]
    assert caught.value.exit_code == ExitCode.BAD_CONFIG


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty\. It must hold the settings"),
        (b"- 1\n", r"is not a group of settings"),
        (b"a: 1\nb: \xff\n", r"run.yaml:2: byte 8 is not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), r"is larger than 1,000,000 bytes"),
        (b"stage: aling\n", r"stage is 'aling'.*Did you mean align\?"),
        (b"training: {}\n", r"stage is None\. It must be one of scratch"),
        (b"stage: align\nstage: align\n", r"run.yaml:2:1: .*stands here and on line 1"),
    ],
)
def test_load_config_refuses_a_file_that_holds_no_settings(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(str(path))
    assert caught.value.exit_code == ExitCode.BAD_CONFIG


def test_a_refused_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"^--set data.root=s3://\.\.\.@bucket: ") as caught:
        load_config("tiny", "align", overrides=["data.root=s3://me:secret@bucket"])
    assert "secret" not in caught.value.message


def test_load_config_refuses_a_missing_file_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"tny does not exist.*Did you mean tiny\?") as caught:
        load_config("tny", "align")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_load_config_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"which is a folder\. It takes"):
        load_config(str(tmp_path), "align")


def test_load_config_refuses_a_path_below_a_file_and_one_that_is_too_long(tmp_path: Path) -> None:
    source = write(tmp_path, "stage: align\n")
    for path, why in ((f"{source}/x", "Not a directory"), ("x" * 5000, "File name too long")):
        match = rf"^{path[:100]} cannot be read: {why}\. --config takes"
        with pytest.raises(ConfigError, match=match) as caught:
            load_config(path, "align")
        assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_load_config_refuses_the_settings_of_another_stage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds the settings of stage 'align', but 'scratch'"):
        load_config(write(tmp_path, "stage: align\n"), "scratch")


def test_load_config_refuses_a_preset_without_a_stage() -> None:
    with pytest.raises(ConfigError, match=r"'tiny' is a preset, which holds every") as caught:
        load_config("tiny")
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("override", ["training.max_steps", "=3", "training..max_steps=3", ""])
def test_load_config_refuses_a_malformed_override_as_usage(override: str) -> None:
    with pytest.raises(ConfigError, match=r"is no change of a setting") as caught:
        load_config("tiny", "align", overrides=[override])
    assert caught.value.exit_code == ExitCode.USAGE


def test_load_config_refuses_an_override_below_a_value() -> None:
    with pytest.raises(ConfigError, match=r"training.max_steps is \d+, which has no settings"):
        load_config("tiny", "align", overrides=["training.max_steps.x=1"])


def test_check_stage_suggests() -> None:
    with pytest.raises(ConfigError, match=r"'instuct' is not a stage.*mean instruct\?") as caught:
        check_stage("instuct")
    assert caught.value.exit_code == ExitCode.USAGE


def test_config_from_yaml_reads_what_a_checkpoint_carries() -> None:
    config = config_from_yaml("stage: scratch\nrun: {name: a}\n", origin="config.yaml")
    assert config.run.name == "a"


def test_config_from_file_names_file_and_line_of_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("stage: scratch\ntraining:\n  max_stepz: 3\n")
    with pytest.raises(ConfigError, match=rf"^{file}:3: training\.max_stepz is not a setting"):
        config_from_file(file)


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"stage: scratch\nrun: \xff", r"config\.yaml:2: byte 20 is not UTF-8"), (b"", "is empty")],
)
def test_config_from_file_refuses_what_is_no_settings(
    tmp_path: Path, content: bytes, match: str
) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=match):
        config_from_file(file)


def test_workers_may_be_a_range() -> None:
    cluster = load_config("tiny", "scratch", workers="1:4").cluster
    assert (cluster.workers, cluster.max_workers) == (1, 4)
    changes = ["cluster.max_workers=9"]
    assert (
        load_config("tiny", "scratch", overrides=changes, workers="3").cluster.max_workers is None
    )


@pytest.mark.parametrize(
    ("workers", "match"),
    [
        ("many", "--workers many is no number"),
        ("1:", "--workers 1: is no number"),
        ("0", "--workers 0 is no number"),
        ("3:2", "max_workers is 2, but workers is 3"),
    ],
)
def test_workers_that_are_no_number_are_refused(workers: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        load_config("tiny", "scratch", workers=workers)


def test_number_beyond_all_bounds_is_refused() -> None:
    with pytest.raises(ConfigError, match="beyond all bounds"):
        load_config("tiny", "scratch", overrides=[f"model.hidden_size=1{'0' * 400}"])
