from pathlib import Path

import pytest

from phiray.checkpoints.commit import CHECKPOINTS_NAME
from phiray.errors import CheckpointError, ExitCode
from phiray.stages.pinned import identify_models, pin_models
from tests.stage_builders import Trained, align_config, instruct_config, scratch_config


def test_run_is_pinned_to_its_newest_checkpoint(
    world: Path, clip: Path, scratch: Trained, align: Trained
) -> None:
    runs = scratch.run_dir.parent
    pinned = pin_models(align_config(world, runs, clip=clip, language_model=scratch.run_dir))
    newest = sorted((scratch.run_dir / CHECKPOINTS_NAME).iterdir())[-1]
    assert pinned.language_model == str(newest)  # type: ignore[union-attr]
    assert pin_models(pinned) == pinned
    instruct = pin_models(instruct_config(world, runs, checkpoint=align.run_dir))
    assert Path(instruct.checkpoint).parent == align.run_dir / CHECKPOINTS_NAME  # type: ignore[union-attr]


def test_stage_from_nothing_has_no_models(world: Path, tmp_path: Path) -> None:
    config = scratch_config(world, tmp_path)
    assert pin_models(config) == config
    assert identify_models(config) == {}


def test_run_without_a_checkpoint_is_missing_input(world: Path, clip: Path, tmp_path: Path) -> None:
    config = align_config(world, tmp_path, clip=clip, language_model=tmp_path)
    with pytest.raises(CheckpointError, match="holds no committed checkpoint") as caught:
        pin_models(config)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_models_are_known_by_what_they_hold_not_by_their_place(
    world: Path, clip: Path, scratch: Trained, litgpt: Trained, tmp_path: Path
) -> None:
    def identify(language_model: Path, vision: Path) -> dict[str, str]:
        config = align_config(world, tmp_path, clip=vision, language_model=language_model)
        return identify_models(pin_models(config))

    found = identify(scratch.run_dir, clip)
    assert set(found) == {"language_model", "vision.weights"}
    (tmp_path / "clip").mkdir()
    for file in clip.iterdir():
        (tmp_path / "clip" / file.name).write_bytes(file.read_bytes())
    moved = tmp_path / "moved"
    moved.symlink_to(scratch.run_dir)
    assert identify(moved, tmp_path / "clip") == found
    other = identify(litgpt.run_dir, clip)
    assert other["language_model"] != found["language_model"]
    assert other["vision.weights"] == found["vision.weights"]
    weights = tmp_path / "clip" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")  # as many bytes, but others
    assert identify(moved, tmp_path / "clip")["vision.weights"] != found["vision.weights"]


def test_tag_of_open_clip_is_its_own_identity(
    world: Path, scratch: Trained, tmp_path: Path
) -> None:
    config = align_config(world, tmp_path, clip=Path("openai"), language_model=scratch.run_dir)
    assert identify_models(pin_models(config))["vision.weights"] == "openai"


def test_folder_of_hugging_face_is_taken_as_it_is(world: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = align_config(world, tmp_path, clip=clip, language_model=tmp_path)
    assert pin_models(config) == config
    assert set(identify_models(config)) == {"language_model", "vision.weights"}
