"""Settings of the models."""

import json

import pytest
from pydantic import ValidationError

from phiray.config.model import (
    ModelDescription,
    MoeConfig,
    PhiConfig,
    ProjectorConfig,
    VisionConfig,
    rounded_vocab_size,
)


def test_phi_config_defaults_are_those_of_phi_2() -> None:
    config = PhiConfig()
    assert (config.head_dim, config.rotary_dim) == (80, 32)


def test_phi_config_refuses_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ValidationError, match=r"hidden_size is 100, which num_attention_heads"):
        PhiConfig(hidden_size=100, num_attention_heads=3)


@pytest.mark.parametrize("factor", [0.3, 0.01])
def test_phi_config_refuses_an_odd_or_empty_rotation(factor: float) -> None:
    with pytest.raises(ValidationError, match=r"must be even and above 0"):
        PhiConfig(hidden_size=68, num_attention_heads=4, partial_rotary_factor=factor)  # head 17


def test_moe_config_refuses_more_experts_per_token_than_experts() -> None:
    with pytest.raises(ValidationError, match=r"num_experts_per_token is 5, but num_experts is 4"):
        MoeConfig(num_experts=4, num_experts_per_token=5)


def test_projector_config_refuses_more_experts_per_token_than_experts() -> None:
    with pytest.raises(ValidationError, match=r"num_experts_per_token is 7, but num_experts is 6"):
        ProjectorConfig(num_experts_per_token=7)


@pytest.mark.parametrize(("size", "patch", "patches"), [(224, 32, 49), (336, 14, 576)])
def test_vision_config_counts_patches_without_the_class_token(
    size: int, patch: int, patches: int
) -> None:
    assert VisionConfig(image_size=size, patch_size=patch).num_patches == patches


def test_vision_config_refuses_a_patch_that_does_not_divide_the_image() -> None:
    with pytest.raises(ValidationError, match=r"image_size is 224, which patch_size \(30\)"):
        VisionConfig(image_size=224, patch_size=30)


def test_vision_config_counts_pooled_patches_and_refuses_squares_that_do_not_fit() -> None:
    assert VisionConfig(image_size=336, patch_size=14, pooling=3).num_patches == 8 * 8
    with pytest.raises(ValidationError, match=r"has 7 x 7 patches. .* Take one of 1, 7\."):
        VisionConfig(image_size=224, patch_size=32, pooling=2)


def test_descriptions_of_checkpoints_from_before_pooling_pool_nothing() -> None:
    description = ModelDescription(
        kind="vision-language", language_model=PhiConfig(), vision=VisionConfig()
    ).model_dump()
    del description["vision"]["pooling"]
    loaded = ModelDescription.model_validate_json(json.dumps(description))
    assert loaded.vision == VisionConfig(pooling=1)


@pytest.mark.parametrize(("ids", "rows"), [(1, 64), (64, 64), (65, 128), (50_297, 50_304)])
def test_vocabulary_is_rounded_up_to_whole_steps(ids: int, rows: int) -> None:
    assert rounded_vocab_size(ids) == rows


def test_soft_mixture_refuses_a_balancing_bias() -> None:
    with pytest.raises(ValidationError, match=r"bias_update_rate is 0\.1, but kind is soft"):
        MoeConfig(kind="soft", bias_update_rate=0.1)
