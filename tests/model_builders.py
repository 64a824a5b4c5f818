"""Tiny models and batches for tests: random weights of unequal size, so that no error hides."""

import torch
from torch import Tensor, nn

from phiray.batch import Batch
from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig
from phiray.models.interface import TokenModel
from phiray.models.phi import Phi
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel

VOCAB_SIZE = 61
IMAGE_ID = 59
NUM_PATCHES = 4
VISION_HIDDEN = 12


def phi_config(moe: MoeConfig | None = None) -> PhiConfig:
    return PhiConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=40,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        moe=moe,
    )


def moe_config(kind: str = "sparse", *, top: int = 2) -> MoeConfig:
    return MoeConfig.model_validate(
        {"kind": kind, "num_experts": 4, "num_experts_per_token": top, "intermediate_size": 16}
    )


def scramble(module: nn.Module, *, seed: int = 0, scale: float = 0.2) -> nn.Module:
    """Give every parameter and buffer-free weight random values, biases and norms included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale, generator=generator)
    return module


def tiny_phi(moe: MoeConfig | None = None, *, seed: int = 0) -> Phi:
    model = Phi(phi_config(moe))
    scramble(model, seed=seed)
    return model


def random_ids(batch: int, seq: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, IMAGE_ID, (batch, seq), generator=generator)


def make_batch(input_ids: Tensor, *, attention_mask: Tensor | None = None) -> Batch:
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        labels=input_ids.clone(),
        loss_weights=torch.ones(len(input_ids)),
        row_ids=torch.arange(len(input_ids)),
    )


class PixelMeans(nn.Module):
    """Stand in for a tower: each patch feature is a constant times the picture's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.1, 1.0, NUM_PATCHES * VISION_HIDDEN))

    def forward(self, pixel_values: Tensor) -> Tensor:
        means = pixel_values.float().mean(dim=(1, 2, 3)) / 255  # (images,)
        features = means[:, None] * self.scale  # (images, patches * vision_hidden)
        return features.view(-1, NUM_PATCHES, VISION_HIDDEN)  # (images, patches, vision_hidden)


def tiny_vlm(
    projector: ProjectorConfig | None = None, *, moe: MoeConfig | None = None
) -> VisionLanguageModel:
    language_model = tiny_phi(moe)
    built = build_projector(
        projector or ProjectorConfig(),
        vision_hidden_size=VISION_HIDDEN,
        hidden_size=language_model.config.hidden_size,
    )
    return VisionLanguageModel(language_model, PixelMeans(), built, image_token_id=IMAGE_ID)


def image_batch(num_images: int, *, seq: int = 12) -> Batch:
    ids = random_ids(num_images, seq)
    ids[:, 1 : 1 + NUM_PATCHES] = IMAGE_ID
    batch = make_batch(ids)
    generator = torch.Generator().manual_seed(5)
    batch["pixel_values"] = torch.randint(
        0, 256, (num_images, 3, 8, 8), dtype=torch.uint8, generator=generator
    )
    return batch


def assert_near(actual: Tensor | None, expected: Tensor | None) -> None:
    """Compare to the project's tolerance: 1e-5 in fp32."""
    assert actual is not None
    assert expected is not None
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def all_logits(model: TokenModel, ids: Tensor) -> Tensor:
    return model.project(model.decode(model.embed(ids)).hidden_states)
