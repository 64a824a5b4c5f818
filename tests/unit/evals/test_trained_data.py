"""A run is scored on its own data, or says that it was not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from phiray.config.model import VisionConfig
from phiray.config.stages import AnyStageConfig
from phiray.errors import DataError
from phiray.evals.trained_data import (
    check_trained_data,
    recorded_fingerprint,
    training_fingerprint,
)
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import CARRIED_MANIFEST_FILE
from phiray.stages.registry import stage_module
from phiray.stages.restore import LoadedModel, load_model
from phiray.world.build import build_world
from phiray.world.clip import train_clip
from tests import stage_builders
from tests.unit.evals.worlds import PICTURES, SMALL, load_scratch, load_vlm, make_world

STAGES = ("scratch", "align", "instruct")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def other_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("other")
    build_world(root, seed=4, settings=SMALL)
    return root


def _load(stage: str, world: Path, run: Path) -> LoadedModel:
    """Load a run that recorded what it was trained on."""
    loaded = load_scratch(world, run) if stage == "scratch" else load_vlm(world, run, stage=stage)
    loaded.checkpoint_path.mkdir(parents=True, exist_ok=True)
    record = {"data": {"fingerprint": training_fingerprint(loaded), "counts": {}}}
    (loaded.checkpoint_path / CARRIED_MANIFEST_FILE).write_text(json.dumps(record))
    return loaded


def _moved(loaded: LoadedModel, root: Path) -> LoadedModel:
    data = loaded.config.data.model_copy(update={"root": str(root)})
    return replace(loaded, config=loaded.config.model_copy(update={"data": data}))


def test_what_each_stage_records_is_found_again(tmp_path: Path) -> None:
    world, runs = stage_builders.write_world(tmp_path / "world"), tmp_path / "runs"
    clip = tmp_path / "clip"
    vision = VisionConfig(
        image_size=stage_builders.IMAGE_SIZE,
        patch_size=stage_builders.PATCH_SIZE,
        hidden_size=stage_builders.VISION_HIDDEN,
    )
    train_clip(stage_builders.image_data(world), vision, out=clip, seed=0, max_steps=1)
    scratch = stage_builders.scratch_config(world, runs)
    language = stage_builders.train(scratch).run_dir
    align = stage_builders.align_config(world, runs, clip=clip, language_model=language)
    # Fewer images, chosen by the seed of the run.
    few = align.data.model_copy(update={"max_images": 7})
    align = align.model_copy(update={"data": few, "run": align.run.model_copy(update={"seed": 5})})
    aligned = stage_builders.train(align).run_dir
    instruct = stage_builders.instruct_config(world, runs, checkpoint=aligned)
    stage_builders.train(instruct)
    for config in (scratch, align, instruct):
        loaded = load_model(run_folder(config))
        for fraction in (0.0, 0.3):  # of a search's trials, which measure themselves on some rows
            trained = with_validation(config, fraction)
            recorded = stage_module(config.stage).prepare(trained).fingerprint
            record = {"data": {"fingerprint": recorded, "counts": {}}}
            (loaded.checkpoint_path / CARRIED_MANIFEST_FILE).write_text(json.dumps(record))
            assert check_trained_data(replace(loaded, config=trained), is_given=False) == []


def with_validation(config: AnyStageConfig, fraction: float) -> AnyStageConfig:
    split = config.data.split.model_copy(update={"validation_fraction": fraction})
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data})


@pytest.mark.parametrize("stage", STAGES)
def test_same_data_is_fine_there_and_as_a_copy(stage: str, world: Path, tmp_path: Path) -> None:
    loaded = _load(stage, world, tmp_path / "run")
    copy = shutil.copytree(world, tmp_path / "copy")
    assert check_trained_data(loaded, is_given=False) == []
    assert check_trained_data(_moved(loaded, copy), is_given=True) == []


@pytest.mark.parametrize("stage", STAGES)
def test_other_data_in_its_place_is_refused(
    stage: str, world: Path, other_world: Path, tmp_path: Path
) -> None:
    loaded = _moved(_load(stage, world, tmp_path / "run"), other_world)
    with pytest.raises(DataError, match=r"does not hold the data that run was.*--data DIR"):
        check_trained_data(loaded, is_given=False)
    assert not (other_world / "prepared").exists()  # nothing was tokenised to find out


@pytest.mark.parametrize("stage", STAGES)
def test_other_data_on_purpose_is_noted(
    stage: str, world: Path, other_world: Path, tmp_path: Path
) -> None:
    loaded = _moved(_load(stage, world, tmp_path / "run"), other_world)
    (note,) = check_trained_data(loaded, is_given=True)
    assert "run was scored on other data than it was trained on" in note
    assert str(tmp_path) not in note


def test_checkpoint_outside_its_run_is_checked(
    world: Path, other_world: Path, tmp_path: Path
) -> None:
    loaded = _moved(_load("align", world, tmp_path / "run"), other_world)
    alone = shutil.copytree(loaded.checkpoint_path, tmp_path / "alone")
    with pytest.raises(DataError, match="does not hold the data that run was trained on"):
        check_trained_data(replace(loaded, checkpoint_path=alone), is_given=False)


def test_rows_that_cannot_be_read_are_no_reason_to_refuse(world: Path, tmp_path: Path) -> None:
    loaded = _load("instruct", world, tmp_path / "run")
    root = shutil.copytree(world, tmp_path / "copy")
    (root / PICTURES).unlink()  # `caption` does not need them
    (note,) = check_trained_data(_moved(loaded, root), is_given=False)
    assert "could not be checked" in note


def test_checkpoint_without_a_record_is_not_checked(
    world: Path, other_world: Path, tmp_path: Path
) -> None:
    loaded = _moved(_load("align", world, tmp_path / "run"), other_world)
    assert recorded_fingerprint(loaded.checkpoint_path) is not None
    manifest = loaded.checkpoint_path / CARRIED_MANIFEST_FILE
    for text in ("{broken", "[]", "{}", '{"data": {"fingerprint": 7}}'):
        manifest.write_text(text)
        assert check_trained_data(loaded, is_given=False) == []
    manifest.unlink()
    assert check_trained_data(loaded, is_given=False) == []
