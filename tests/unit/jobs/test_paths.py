from pathlib import Path

import pytest

from phiray.config.load import load_config
from phiray.config.model import VisionConfig
from phiray.config.presets import preset
from phiray.config.stages import STAGES, AlignConfig, InstructConfig
from phiray.jobs.paths import input_paths, with_absolute_paths


@pytest.mark.parametrize("stage", STAGES)
def test_run_and_data_become_absolute(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = with_absolute_paths(preset("tiny", stage))
    assert config.run.output_dir == str(tmp_path / "runs")
    assert config.data.root == str(tmp_path / "phiray-demo/data")
    assert config.data.tokenizer == "tokenizer"


def test_a_url_stays_as_it_is() -> None:
    config = preset("tiny", "align")
    data = config.data.model_copy(update={"root": "s3://bucket/data"})
    there = with_absolute_paths(config.model_copy(update={"data": data}))
    assert there.data.root == "s3://bucket/data"


def test_checkpoints_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    align = with_absolute_paths(preset("tiny", "align"))
    instruct = with_absolute_paths(preset("tiny", "instruct"))
    assert isinstance(align, AlignConfig)
    assert isinstance(instruct, InstructConfig)
    assert align.language_model == str(tmp_path / "runs/scratch")
    assert instruct.checkpoint == str(tmp_path / "runs/align")


def test_tower_becomes_absolute_only_if_it_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip").mkdir()
    weights = {}
    for name in ("clip", "openai"):
        config = AlignConfig(vision=VisionConfig(weights=name))
        absolute = with_absolute_paths(config)
        assert isinstance(absolute, AlignConfig)
        weights[name] = absolute.vision.weights
    assert weights == {"clip": str(tmp_path / "clip"), "openai": "openai"}


def test_absolute_settings_stay_as_they_are(tmp_path: Path) -> None:
    once = with_absolute_paths(preset("phi-2", "align"))
    assert with_absolute_paths(once) == once


def test_home_is_meant_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = preset("tiny", "scratch")
    run = config.run.model_copy(update={"output_dir": "~/runs"})
    found = with_absolute_paths(config.model_copy(update={"run": run}))
    assert found.run.output_dir == str(tmp_path / "runs")


def test_what_a_run_reads_is_named_by_its_settings() -> None:
    align = load_config(
        "phi-2", "align", overrides=["data.root=/s/data", "language_model=/s/phi-2"]
    )
    # the weights are a tag of open_clip's, and the images lie below the root
    assert input_paths(align) == {"data.root": "/s/data", "language_model": "/s/phi-2"}
    beside = ["data.root=/s/data", "checkpoint=/s/align", "data.images=s3://bucket/images"]
    assert input_paths(load_config("phi-2", "instruct", overrides=beside)) == {
        "data.root": "/s/data",
        "checkpoint": "/s/align",
        "data.images": "s3://bucket/images",
    }
    assert input_paths(
        load_config("phi-2", "align", overrides=["data.root=/s", "data.feature_cache=features"])
    ) == {"data.root": "/s", "data.feature_cache": "/s/features"}
    places = ["data.root=/s/data", "data.prepared=/s/prepared"]
    assert input_paths(load_config("phi-2", "scratch", overrides=places)) == {
        "data.root": "/s/data",
        "data.prepared": "/s/prepared",
    }
