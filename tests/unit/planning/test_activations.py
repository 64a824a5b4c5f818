"""What is counted against what autograd keeps: each storage of a saved tensor once."""

import pytest
import torch
from torch import Tensor, nn

from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig, VisionConfig
from phiray.models.build import build_language_model
from phiray.models.projector import build_projector
from phiray.planning.activations import count_kept, tower_working_set
from phiray.planning.given import GivenModel
from phiray.planning.parameters import Tower

ROWS, TOKENS = 4, 64
MODEL = PhiConfig(
    vocab_size=61,
    hidden_size=64,
    intermediate_size=256,
    num_hidden_layers=3,
    num_attention_heads=4,
    max_position_embeddings=64,
    partial_rotary_factor=0.5,
)
EXPERTS = MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=128)


def kept_bytes(module: nn.Module, inputs: Tensor) -> int:
    """Run a forward and add up what it keeps, weights and inputs apart."""
    own = {p.untyped_storage().data_ptr() for p in [*module.parameters(), *module.buffers()]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = module(inputs)
    assert output is not None
    return sum(kept.values())


class Blocks(nn.Module):
    """The blocks of a language model, from embeddings on."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs_embeds: Tensor) -> Tensor:
        return self.model.decode(inputs_embeds).hidden_states  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize("is_trained", [True, False])
@pytest.mark.parametrize(
    "moe",
    [None, EXPERTS, EXPERTS.model_copy(update={"kind": "soft"})],
    ids=["dense", "moe", "soft"],
)
def test_blocks_keep_what_is_counted(moe: MoeConfig | None, is_trained: bool) -> None:
    config = MODEL.model_copy(update={"moe": moe})
    model = build_language_model(config, kind="phi", seed=0)
    model.requires_grad_(is_trained)
    embeds = torch.randn(ROWS, TOKENS, config.hidden_size, requires_grad=True)
    counted = count_kept(
        GivenModel(config), rows=ROWS, row_tokens=TOKENS, narrow=4, is_trained=is_trained
    )
    assert counted.blocks == pytest.approx(kept_bytes(Blocks(model), embeds), rel=0.05)


@pytest.mark.parametrize(
    "config",
    [
        ProjectorConfig(kind="linear"),
        ProjectorConfig(kind="mlp"),
        ProjectorConfig(kind="mlp", num_layers=4, intermediate_size=96),
        ProjectorConfig(kind="moe"),
        ProjectorConfig(kind="moe", num_experts_per_token=2),
    ],
)
@pytest.mark.parametrize("pooling", [1, 2])
def test_projector_keeps_what_is_counted(config: ProjectorConfig, pooling: int) -> None:
    vision = VisionConfig(image_size=224, patch_size=16, hidden_size=96, pooling=pooling)
    projector = build_projector(config, vision_hidden_size=96, hidden_size=64)
    features = torch.randn(ROWS, vision.num_patches, 96)
    without, counted = (
        count_kept(given, rows=ROWS, row_tokens=TOKENS, narrow=4, is_trained=False)
        for given in (GivenModel(MODEL), GivenModel(MODEL, vision, config))
    )
    pixels = ROWS * 3 * 224**2
    embeds = ROWS * vision.num_patches * 64 * 4  # its result, which is kept until it is spliced in
    own = counted.outside - without.outside - pixels - embeds
    assert own == pytest.approx(kept_bytes(projector, features), rel=0.1)


def test_bf16_keeps_a_copy_for_each_product() -> None:
    """By hand, for one token of a block: 20 hidden and 4 intermediate bytes, and statistics."""
    counted = count_kept(GivenModel(MODEL), rows=1, row_tokens=1, narrow=2, is_trained=True)
    assert counted.block == 20 * 64 + 4 * 256 + 8 + 4 * 4


def test_tower_takes_more_for_more_images() -> None:
    tower = Tower(64, 16, 128, 4, 512, 128)
    one, two = (tower_working_set(tower, images, narrow=4) for images in (1, 2))
    assert two == 2 * one
    assert one > 17 * 128 * 4
