import json
from pathlib import Path

import pytest

from phiray.config.stages import ScratchConfig
from phiray.config.training import ClusterConfig
from phiray.errors import CheckpointError, ConfigError, ExitCode
from phiray.jobs.run_folder import (
    open_run,
    package_versions,
    run_folder,
    source_commit,
    write_manifest,
)
from tests.stage_builders import MOE, phi_config, scratch_config, training


@pytest.fixture
def config(tmp_path: Path) -> ScratchConfig:
    return scratch_config(tmp_path / "data", tmp_path / "runs")


def test_new_run_holds_its_settings_and_nothing_else(config: ScratchConfig) -> None:
    folder = open_run(config, resume=False)
    assert folder == run_folder(config)
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert open_run(config, resume=True) == folder


def test_empty_folder_is_taken(config: ScratchConfig) -> None:
    run_folder(config).mkdir(parents=True)
    assert (open_run(config, resume=False) / "config.yaml").is_file()


def test_occupied_folder_is_refused_and_untouched(config: ScratchConfig) -> None:
    folder = open_run(config, resume=False)
    (folder / "metrics.jsonl").write_text("mine")
    with pytest.raises(CheckpointError, match="exists and is not empty") as caught:
        open_run(config, resume=False)
    assert int(caught.value.exit_code) == 73
    assert "--set run.name=scratch-2" in caught.value.message
    assert (folder / "metrics.jsonl").read_text() == "mine"


def test_file_in_the_way_is_refused(config: ScratchConfig) -> None:
    folder = run_folder(config)
    folder.parent.mkdir(parents=True)
    folder.write_text("a file")
    with pytest.raises(CheckpointError, match="cannot be made") as caught:
        open_run(config, resume=False)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
    assert folder.read_text() == "a file"


def test_file_in_place_of_the_output_folder_is_refused(config: ScratchConfig) -> None:
    Path(config.run.output_dir).write_text("a file")
    with pytest.raises(CheckpointError, match=r"Change run\.output_dir") as caught:
        open_run(config, resume=False)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_nothing_to_resume_is_missing_input(config: ScratchConfig) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume") as caught:
        open_run(config, resume=True)
    assert int(caught.value.exit_code) == 66
    assert not run_folder(config).exists()


def test_resume_lists_every_setting_that_differs(config: ScratchConfig) -> None:
    open_run(config, resume=False)
    data = config.data.model_copy(update={"sequence_length": 16})
    other = config.model_copy(update={"training": training(5), "data": data})
    with pytest.raises(ConfigError, match="was started with other settings") as caught:
        open_run(other, resume=True)
    assert "data.sequence_length was 32, now 16" in caught.value.message
    assert "training.max_steps was 3, now 5" in caught.value.message
    assert caught.value.message.count(" was ") == 4  # checkpoint_every_steps too, and the sentence
    assert caught.value.exit_code == ExitCode.BAD_CONFIG


def test_resume_names_a_group_that_is_gone(config: ScratchConfig) -> None:
    open_run(config, resume=False)
    assert config.model.moe == MOE
    with pytest.raises(ConfigError, match=r"model\.moe was \{.*\}, now None"):
        open_run(config.model_copy(update={"model": phi_config()}), resume=True)


def test_resume_may_change_the_cluster(config: ScratchConfig) -> None:
    folder = open_run(config, resume=False)
    other = config.model_copy(update={"cluster": ClusterConfig(workers=2, cpus_per_worker=1)})
    assert open_run(other, resume=True) == folder


def test_manifest_says_what_the_run_is_made_of(tmp_path: Path) -> None:
    write_manifest(tmp_path, counts={"rows": 7})
    record = json.loads((tmp_path / "manifest.json").read_text())
    assert record["data"] == {"counts": {"rows": 7}}
    assert record["commit"] == source_commit()
    assert record["versions"] == package_versions()
    assert record["versions"]["torch"][0].isdigit()
