"""Our tower's features equal transformers' CLIPVisionModel on mapped weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from phiray.config.model import VisionConfig
from phiray.models.clip import ClipTower, build_clip_model
from tests.model_builders import scramble

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)


def _rename_block(name: str, tensor: Tensor) -> dict[str, Tensor]:
    layer, part = name.removeprefix("transformer.resblocks.").split(".", 1)
    prefix = f"encoder.layers.{layer}"
    if part.startswith("attn.in_proj_"):
        ending = part.removeprefix("attn.in_proj_")
        names = [f"{prefix}.self_attn.{which}_proj.{ending}" for which in "qkv"]
        return dict(zip(names, tensor.chunk(3), strict=True))
    renames = {
        "attn.out_proj": "self_attn.out_proj",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    stem, ending = part.rsplit(".", 1)
    return {f"{prefix}.{renames[stem]}.{ending}": tensor}


def _transformers_names(visual: dict[str, Tensor]) -> dict[str, Tensor]:
    renames = {
        "class_embedding": "embeddings.class_embedding",
        "positional_embedding": "embeddings.position_embedding.weight",
        "conv1.weight": "embeddings.patch_embedding.weight",
        "ln_pre.weight": "pre_layrnorm.weight",
        "ln_pre.bias": "pre_layrnorm.bias",
        "ln_post.weight": "post_layernorm.weight",
        "ln_post.bias": "post_layernorm.bias",
    }
    mapped: dict[str, Tensor] = {}
    for name, tensor in visual.items():
        if name.startswith("transformer."):
            mapped |= _rename_block(name, tensor)
        elif name != "proj":
            mapped[renames[name]] = tensor
    return {f"vision_model.{name}": tensor for name, tensor in mapped.items()}


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_features_equal_transformers_layer_before_last(tmp_path: Path, quick_gelu: bool) -> None:
    model_cfg = {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "width": 48,
            "layers": 3,
            "head_width": 16,
        },
        "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
    }
    clip = scramble(build_clip_model(model_cfg), seed=1)
    save_file(clip.state_dict(), tmp_path / "open_clip_model.safetensors")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    config = VisionConfig(
        model="custom", weights=str(tmp_path), image_size=32, patch_size=8, hidden_size=48
    )
    tower = ClipTower(config)

    theirs = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=48,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=3,
            image_size=32,
            patch_size=8,
            hidden_act="quick_gelu" if quick_gelu else "gelu",
        )
    ).eval()
    state = clip.get_submodule("visual").state_dict()
    missing = theirs.load_state_dict(_transformers_names(state), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("position_ids") for name in missing.missing_keys)

    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=generator)
    features = tower(pixels)
    with torch.no_grad():
        hidden = theirs((pixels / 255 - MEAN) / STD, output_hidden_states=True).hidden_states[-2]
    assert features.shape == (2, config.num_patches, 48)
    torch.testing.assert_close(features, hidden[:, 1:], rtol=1e-5, atol=1e-5)
