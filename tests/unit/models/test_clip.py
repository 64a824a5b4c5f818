import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from phiray.config.model import VisionConfig
from phiray.errors import CheckpointError, ConfigError, ShapeError
from phiray.models.clip import ClipTower, build_clip_model, pool_patches

# Any: open_clip's own JSON config.
MODEL_CFG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}


def _config(folder: Path, **changes: object) -> VisionConfig:
    sizes = {"image_size": 16, "patch_size": 8, "hidden_size": 32} | changes
    return VisionConfig.model_validate({"model": "custom", "weights": str(folder)} | sizes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_file(build_clip_model(MODEL_CFG).state_dict(), tmp_path / "open_clip_model.safetensors")
    content = {"model_cfg": MODEL_CFG, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    return tmp_path


def _pixels() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=generator)


def test_features_have_one_vector_per_patch(folder: Path) -> None:
    assert ClipTower(_config(folder))(_pixels()).shape == (2, 4, 32)


def test_pooling_averages_squares_of_neighbouring_patches() -> None:
    grid = torch.arange(16.0).view(1, 16, 1).expand(1, 16, 2)  # 4 x 4 patches, row by row
    pooled = pool_patches(grid, size=2)
    wanted = torch.tensor([2.5, 4.5, 10.5, 12.5])  # (0 + 1 + 4 + 5) / 4, then on to the right
    torch.testing.assert_close(pooled, wanted.view(1, 4, 1).expand(1, 4, 2))


def test_pooling_of_one_gives_the_features_themselves() -> None:
    features = torch.randn(2, 9, 3)
    assert pool_patches(features, size=1) is features


def test_a_pooled_tower_gives_the_mean_of_its_patches(folder: Path) -> None:
    pooled = ClipTower(_config(folder, pooling=2))(_pixels())
    whole = ClipTower(_config(folder))(_pixels())
    torch.testing.assert_close(pooled, whole.mean(dim=1, keepdim=True))


def test_tower_is_frozen_and_stays_in_evaluation_mode(folder: Path) -> None:
    tower = ClipTower(_config(folder))
    tower.train()
    assert not any(module.training for module in tower.modules())
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    assert not tower(_pixels()).requires_grad


def test_checkpoint_rebuilds_the_tower(folder: Path) -> None:
    tower = ClipTower(_config(folder))
    model_cfg = json.loads(json.dumps(tower.model_cfg))
    again = ClipTower.from_state(_config(folder), model_cfg, tower.state_dict())
    torch.testing.assert_close(again(_pixels()), tower(_pixels()), rtol=0, atol=0)


def test_patch_features_come_from_their_own_place(folder: Path) -> None:
    tower = ClipTower(_config(folder))
    pixels = _pixels()
    other = pixels.clone()
    other[:, :, 8:, :8] = 255 - other[:, :, 8:, :8]  # the third patch, row by row
    moved = (tower(pixels) - tower(other)).norm(dim=-1).mean(dim=0)
    assert int(moved.argmax()) == 2


def test_building_a_tower_leaves_the_generator_alone(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    ClipTower(_config(folder))
    assert torch.equal(torch.rand(1), expected)


def test_pictures_of_another_size_are_refused(folder: Path) -> None:
    with pytest.raises(ShapeError, match=r"\(3, 24, 24\), but the tower takes \(3, 16, 16\)"):
        ClipTower(_config(folder))(torch.zeros(1, 3, 24, 24, dtype=torch.uint8))


def test_sizes_that_the_tower_has_not_are_refused(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"vision\.hidden_size is 48, but the tower custom has 32"
    ):
        ClipTower(_config(folder, hidden_size=48))


def test_tensors_of_another_tower_are_refused(folder: Path) -> None:
    tower = ClipTower(_config(folder))
    tensors = tower.state_dict()
    del tensors["visual.proj"]
    with pytest.raises(CheckpointError, match="do not fit its config"):
        ClipTower.from_state(_config(folder), tower.model_cfg, tensors)


def test_tower_that_is_no_vit_is_refused(folder: Path) -> None:
    vision_cfg = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": 8}
    content = {"model_cfg": MODEL_CFG | {"vision_cfg": vision_cfg | {"head_width": 16}}}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"ModifiedResNet\. Expected a plain ViT"):
        ClipTower(_config(folder, image_size=32, hidden_size=8))


def test_a_tower_says_all_that_its_features_depend_on(folder: Path) -> None:
    tower = ClipTower(_config(folder, pooling=2))
    told = tower.describe()
    assert json.loads(json.dumps(told)) == told
    assert (told["image_size"], told["layer"], told["pooling"]) == (16, -2, 2)
    assert told["model"] == MODEL_CFG["vision_cfg"]
    assert tower.feature_shape == tuple(tower(_pixels()).shape[1:])
    assert tower.image_size == 16
