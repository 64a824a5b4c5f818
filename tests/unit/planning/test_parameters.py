"""Counts against the modules themselves, on torch's meta device: no weight is made."""

import pytest
import torch
from torch import nn

from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig
from phiray.config.presets import PRESETS, preset
from phiray.config.stages import AlignConfig, LitgptConfig, ScratchConfig
from phiray.models.clip import build_clip_model
from phiray.models.litgpt_gpt import build_gpt
from phiray.models.phi import Phi
from phiray.models.projector import build_projector
from phiray.planning.given import find_given_model
from phiray.planning.parameters import (
    LanguageModelParameters,
    count_language_model,
    count_projector,
    count_tower,
)

SMALL = PhiConfig(
    vocab_size=96,
    hidden_size=40,
    intermediate_size=56,
    num_hidden_layers=3,
    num_attention_heads=4,
)


def count(module: nn.Module, *, within: str = "") -> int:
    return sum(p.numel() for name, p in module.named_parameters() if within in name)


def on_meta(config: PhiConfig) -> nn.Module:
    with torch.device("meta"):
        return Phi(config)


@pytest.mark.parametrize("name", PRESETS)
def test_scratch_of_each_preset_has_as_many_as_counted(name: str) -> None:
    config = preset(name, "scratch")
    assert isinstance(config, ScratchConfig)
    assert count_language_model(config.model).total == count(on_meta(config.model))


@pytest.mark.parametrize("name", PRESETS)
def test_litgpt_of_each_preset_has_as_many_as_counted(name: str) -> None:
    config = preset(name, "litgpt")
    assert isinstance(config, LitgptConfig)
    with torch.device("meta"):
        model = build_gpt(config.model)
    assert count_language_model(config.model).total == count(model)


@pytest.mark.parametrize("name", PRESETS)
def test_tower_and_projector_of_each_preset_have_as_many_as_counted(name: str) -> None:
    config = preset(name, "align")
    assert isinstance(config, AlignConfig)
    given = find_given_model(config, stand_in=name)
    assert given.tower is not None
    tower = given.tower
    vision_cfg = {
        "image_size": tower.image_size,
        "patch_size": tower.patch_size,
        "width": tower.hidden_size,
        "layers": tower.num_hidden_layers,
        "head_width": 32,
    }
    text_cfg = {"context_length": 2, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1}
    with torch.device("meta"):
        clip = build_clip_model(
            {"embed_dim": tower.embed_dim, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
        )
    assert count_tower(tower) == count(clip.get_submodule("visual"))
    hidden = given.language_model.hidden_size
    built = build_projector(
        config.projector, vision_hidden_size=tower.hidden_size, hidden_size=hidden
    )
    counted = count_projector(
        config.projector, vision_hidden_size=tower.hidden_size, hidden_size=hidden
    )
    assert counted == count(built)


@pytest.mark.parametrize(
    "config",
    [
        ProjectorConfig(kind="linear"),
        ProjectorConfig(kind="mlp", num_layers=1),
        ProjectorConfig(kind="mlp", num_layers=3, intermediate_size=7),
        ProjectorConfig(kind="moe"),
        ProjectorConfig(kind="moe", num_experts=3, num_experts_per_token=2, num_residual_layers=0),
    ],
)
def test_each_projector_has_as_many_as_counted(config: ProjectorConfig) -> None:
    built = build_projector(config, vision_hidden_size=12, hidden_size=20)
    assert count_projector(config, vision_hidden_size=12, hidden_size=20) == count(built)


@pytest.mark.parametrize("kind", ["sparse", "soft"])
def test_each_part_is_counted_by_itself(kind: str) -> None:
    moe = MoeConfig.model_validate({"kind": kind, "num_experts": 5, "intermediate_size": 24})
    config = SMALL.model_copy(update={"moe": moe})
    model = on_meta(config)
    assert count_language_model(config) == LanguageModelParameters(
        embedding=count(model, within="embed_tokens"),
        attention=count(model, within="self_attn"),
        mlp=count(model, within=".mlp."),
        moe=count(model, within=".moe."),
        norms=count(model, within="layernorm"),
        head=count(model, within="lm_head"),
    )


def test_matrices_are_what_products_read() -> None:
    counts = count_language_model(SMALL)
    assert counts.matrices == counts.total - counts.embedding - counts.norms
