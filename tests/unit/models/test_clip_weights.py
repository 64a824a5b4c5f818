import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from phiray.config.model import VisionConfig
from phiray.errors import CheckpointError, ConfigError, ExitCode
from phiray.models.clip_weights import read_clip_weights

MODEL_CFG = {"embed_dim": 16, "vision_cfg": {"width": 32}}


def _config(model: str, weights: Path | str) -> VisionConfig:
    return VisionConfig(model=model, weights=str(weights))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensors = {"visual.proj": torch.ones(2), "token_embedding.weight": torch.zeros(2)}
    save_file(tensors, tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL_CFG}))
    return tmp_path


def test_folder_gives_the_tower_without_the_text_tower(folder: Path) -> None:
    weights = read_clip_weights(_config("custom", folder))
    assert weights.model_cfg == MODEL_CFG
    assert list(weights.tensors) == ["proj"]


def test_file_beside_its_config_is_read_like_the_folder(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    assert read_clip_weights(_config("custom", path)).model_cfg == MODEL_CFG


def test_file_of_a_known_model_takes_open_clips_config(folder: Path) -> None:
    path = folder / "open_clip_model.safetensors"
    weights = read_clip_weights(_config("ViT-B-32-quickgelu", path))
    assert weights.model_cfg["quick_gelu"] is True
    assert weights.model_cfg["vision_cfg"]["patch_size"] == 32


def test_wrong_activation_for_a_tag_is_refused_not_silent() -> None:
    with pytest.raises(ConfigError, match="silently wrong"):
        read_clip_weights(_config("ViT-B-32", "openai"))


def test_tag_with_other_pixel_means_is_refused() -> None:
    with pytest.raises(ConfigError, match="normalises pixels with mean"):
        read_clip_weights(_config("ViT-B-16-SigLIP", "webli"))


def test_unknown_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="'ViT-Z-1', which open_clip does not know"):
        read_clip_weights(_config("ViT-Z-1", "openai"))


def test_unknown_tag_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"a tag of ViT-B-32-quickgelu \(it has openai"):
        read_clip_weights(_config("ViT-B-32-quickgelu", "opneai"))


def test_missing_folder_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"open_clip_config\.json is missing") as caught:
        read_clip_weights(_config("custom", tmp_path / "nowhere"))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_missing_weights_are_missing_input(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"safetensors is missing") as caught:
        read_clip_weights(_config("custom", folder))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "is not JSON"), ("[]", "has no object 'model_cfg'"), ("{}", "has no object")],
)
def test_broken_config_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        read_clip_weights(_config("custom", folder))


def test_cut_off_weights_are_refused(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_clip_weights(_config("custom", folder))
