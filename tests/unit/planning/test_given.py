from pathlib import Path

import pytest

from phiray.config.model import ModelDescription, PhiConfig, ProjectorConfig, VisionConfig
from phiray.config.presets import preset
from phiray.config.stages import AlignConfig, InstructConfig, ScratchConfig
from phiray.errors import CheckpointError, ConfigError
from phiray.planning.given import find_given_model

SMALL = PhiConfig(hidden_size=64, num_attention_heads=2, partial_rotary_factor=0.5)
SEEING = ModelDescription(
    kind="vision-language",
    language_model=SMALL,
    vision=VisionConfig(model="custom", image_size=64, patch_size=16, hidden_size=96),
    vision_model={"embed_dim": 48, "vision_cfg": {"layers": 3, "mlp_ratio": 2.0}},
    projector=ProjectorConfig(kind="linear"),
    image_token_id=9,
)


def align(**changes: object) -> AlignConfig:
    config = preset("phi-2", "align")
    assert isinstance(config, AlignConfig)
    return config.model_copy(update=changes)


def instruct(checkpoint: Path) -> InstructConfig:
    config = preset("phi-2", "instruct")
    assert isinstance(config, InstructConfig)
    return config.model_copy(update={"checkpoint": str(checkpoint)})


def write_run(folder: Path, *descriptions: ModelDescription) -> Path:
    """Write a run of one checkpoint for each description."""
    for step, description in enumerate(descriptions):
        path = folder / "checkpoints" / f"step-{step:08d}"
        path.mkdir(parents=True)
        (path / "model.json").write_text(description.model_dump_json())
    return folder


def test_text_stage_has_its_own_model() -> None:
    config = preset("tiny", "scratch")
    assert isinstance(config, ScratchConfig)
    given = find_given_model(config, stand_in="phi-2")
    assert (given.language_model, given.tower, given.assumptions) == (config.model, None, ())


def test_missing_language_model_is_stood_in_for_and_said() -> None:
    given = find_given_model(align(language_model="nowhere"), stand_in="phi-2")
    assert given.language_model == PhiConfig()
    assert given.assumptions == (
        "language_model nowhere is not there yet; microsoft/phi-2 stands in for it",
    )


def test_language_model_is_read_from_a_hugging_face_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "phi", "hidden_size": 320}')
    given = find_given_model(align(language_model=str(tmp_path)), stand_in="phi-2")
    assert (given.language_model.hidden_size, given.assumptions) == (320, ())


def test_home_is_meant_as_in_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "phi").mkdir()
    (tmp_path / "phi/config.json").write_text('{"model_type": "phi", "hidden_size": 320}')
    given = find_given_model(align(language_model="~/phi"), stand_in="phi-2")
    assert (given.language_model.hidden_size, given.assumptions) == (320, ())
    write_run(tmp_path / "aligned", SEEING)
    assert find_given_model(instruct(Path("~/aligned")), stand_in="phi-2").assumptions == ()


def test_newest_checkpoint_of_a_run_is_read(tmp_path: Path) -> None:
    older = SEEING.model_copy(update={"language_model": PhiConfig()})
    given = find_given_model(instruct(write_run(tmp_path, older, SEEING)), stand_in="phi-2")
    assert given.language_model == SMALL
    assert given.tower is not None
    assert (given.tower.num_hidden_layers, given.tower.intermediate_size) == (3, 192)
    assert (given.tower.embed_dim, given.tower.num_positions) == (48, 17)
    assert given.assumptions == ()


def test_one_checkpoint_is_read(tmp_path: Path) -> None:
    write_run(tmp_path, SEEING)
    path = tmp_path / "checkpoints" / "step-00000000"
    assert find_given_model(instruct(path), stand_in="phi-2").language_model == SMALL


def test_missing_align_run_is_stood_in_for(tmp_path: Path) -> None:
    given = find_given_model(instruct(tmp_path / "none"), stand_in="tiny")
    assert given.language_model.hidden_size == 128
    assert given.tower is not None
    assert given.tower.num_hidden_layers == 4
    assert "`align` of the preset tiny stands in for it" in given.assumptions[0]


def test_language_model_without_eyes_is_refused(tmp_path: Path) -> None:
    blind = ModelDescription(kind="phi", language_model=SMALL)
    with pytest.raises(ConfigError, match="without eyes"):
        find_given_model(instruct(write_run(tmp_path, blind)), stand_in="phi-2")


def test_broken_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"model\.json is no description of a model"):
        find_given_model(instruct(tmp_path), stand_in="phi-2")


def test_tower_comes_from_open_clips_own_config() -> None:
    given = find_given_model(align(), stand_in="phi-2")
    assert given.tower is not None
    assert (given.tower.num_hidden_layers, given.tower.embed_dim) == (12, 512)


def test_unknown_tower_is_refused() -> None:
    with pytest.raises(ConfigError, match="which open_clip does not know"):
        find_given_model(align(vision=VisionConfig(model="ViT-Z")), stand_in="phi-2")


def test_tower_that_is_no_vit_is_refused() -> None:
    with pytest.raises(ConfigError, match="which is no plain ViT"):
        find_given_model(align(vision=VisionConfig(model="RN50")), stand_in="phi-2")


def test_folder_of_another_tool_is_named(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    vision = VisionConfig(model="custom", weights=str(tmp_path))
    with pytest.raises(CheckpointError, match="has no object 'model_cfg'"):
        find_given_model(align(vision=vision), stand_in="phi-2")
