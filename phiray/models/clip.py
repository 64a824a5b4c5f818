"""The frozen CLIP tower: uint8 pixels in, patch features of the layer before the last out.

Source: open_clip 3.3 `forward_intermediates`; the layer is LLaVA's `mm_vision_select_layer = -2`,
equal to transformers' `hidden_states[-2][:, 1:]`.
Limits: plain ViT towers. Importing this imports open_clip, which takes seconds.
"""

import math
from typing import Any

import open_clip
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transformer import VisionTransformer
from pydantic import JsonValue
from torch import Tensor, nn

from phiray.config.model import VisionConfig
from phiray.errors import CheckpointError, ConfigError, ShapeError
from phiray.models.clip_weights import ModelCfg, read_clip_weights

GREY_LEVELS = 255.0
FEATURE_LAYER = -2
"""The block whose output is the feature, from the end: LLaVA's `mm_vision_select_layer`."""

# The text tower is built only to be thrown away, so it is the smallest that open_clip makes.
_SMALLEST_TEXT: ModelCfg = {
    "context_length": 2,
    "vocab_size": 2,
    "width": 8,
    "heads": 1,
    "layers": 1,
}


class ClipTower(nn.Module):
    """A frozen open_clip tower that normalises its own pixels."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VisionConfig) -> None:
        """Read the tower that `config` names (see `read_clip_weights`)."""
        super().__init__()
        weights = read_clip_weights(config)
        self._set_up(config, weights.model_cfg, weights.tensors)

    @classmethod
    def from_state(
        cls, config: VisionConfig, model_cfg: ModelCfg, tensors: dict[str, Tensor]
    ) -> "ClipTower":
        """Rebuild a tower from a checkpoint.

        Args:
            config: the sizes that the tower must have.
            model_cfg: the attribute `model_cfg` of the tower that was saved.
            tensors: its state dict.
        """
        tower = cls.__new__(cls)
        nn.Module.__init__(tower)
        plain = {name.removeprefix("visual."): tensor for name, tensor in tensors.items()}
        tower._set_up(config, model_cfg, plain)
        return tower

    def _set_up(
        self, config: VisionConfig, model_cfg: ModelCfg, tensors: dict[str, Tensor]
    ) -> None:
        self.config = config
        self.model_cfg = model_cfg
        # Any: open_clip's tower has methods that torch's types do not know.
        self.visual: Any = _build_visual(config, model_cfg)
        try:
            self.visual.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(
                f"The tower's tensors do not fit its config: {error}. Give config and weights of "
                "the same open_clip model."
            ) from error
        self.register_buffer("mean", _per_channel(OPENAI_DATASET_MEAN), persistent=False)
        self.register_buffer("std", _per_channel(OPENAI_DATASET_STD), persistent=False)
        self.requires_grad_(False)  # noqa: FBT003 (torch's own signature)
        self.eval()

    def train(self, mode: bool = True) -> "ClipTower":  # noqa: ARG002, FBT001, FBT002 (torch's)
        """Stay in evaluation mode: a frozen tower has no dropout to turn on."""
        return super().train(mode=False)

    @property
    def image_size(self) -> int:
        """Side of the pictures in pixels."""
        return self.config.image_size

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(patches, vision_hidden) of one picture."""
        return self.config.num_patches, self.config.hidden_size

    def describe(self) -> dict[str, JsonValue]:
        """Say all that features depend on, weights and pixels apart."""
        return {
            "model": self.model_cfg["vision_cfg"],
            "quick_gelu": bool(self.model_cfg.get("quick_gelu", False)),
            "image_size": self.config.image_size,
            "layer": FEATURE_LAYER,
            "pooling": self.config.pooling,
            "mean": list(OPENAI_DATASET_MEAN),
            "std": list(OPENAI_DATASET_STD),
        }

    @torch.no_grad()
    def forward(self, pixel_values: Tensor) -> Tensor:
        """Compute patch features.

        Args:
            pixel_values: (images, 3, height, width) uint8, not normalised.

        Returns:
            (images, patches, vision_hidden) float, row by row over the picture, pooled.

        Raises:
            ShapeError: if the pictures are not `vision.image_size` large.
        """
        side = self.config.image_size
        if pixel_values.shape[1:] != (3, side, side):
            raise ShapeError(
                f"Pictures are {tuple(pixel_values.shape[1:])}, but the tower takes (3, {side}, "
                f"{side}). Prepare them with vision.image_size={side}."
            )
        pixels = pixel_values.to(self.mean.dtype) / GREY_LEVELS  # (images, 3, height, width)
        pixels = (pixels - self.mean) / self.std
        layer = len(self.visual.transformer.resblocks) + FEATURE_LAYER
        features: Tensor = self.visual.forward_intermediates(
            pixels,
            indices=[layer],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
        )["image_intermediates"][0]  # (images, patches, vision_hidden)
        return pool_patches(features, size=self.config.pooling)


def pool_patches(features: Tensor, *, size: int) -> Tensor:
    """Average squares of neighbouring patches.

    Args:
        features: (images, patches, vision_hidden) of a square picture, row by row.
        size: side of a square, in patches; it divides that of the picture.

    Returns:
        (images, patches / size^2, vision_hidden), row by row.
    """
    if size == 1:
        return features
    side = math.isqrt(features.shape[1])
    channels = features.mT  # (images, vision_hidden, patches)
    grid = channels.reshape(*channels.shape[:2], side, side)  # (images, vision_hidden, side, side)
    pooled = F.avg_pool2d(grid, size)  # (images, vision_hidden, side / size, side / size)
    return pooled.flatten(2).mT  # (images, patches / size^2, vision_hidden)


def build_clip_model(model_cfg: ModelCfg) -> nn.Module:
    """Build the whole open_clip CLIP of a config, with random weights of torch's generator.

    Args:
        model_cfg: embed_dim, vision_cfg, text_cfg and quick_gelu, as in `open_clip_config.json`.
    """
    model: nn.Module = open_clip.CLIP(**model_cfg)
    return model


def _build_visual(config: VisionConfig, model_cfg: ModelCfg) -> nn.Module:
    _check_sizes(config, model_cfg)
    with torch.random.fork_rng(devices=[]):
        model = build_clip_model({**model_cfg, "text_cfg": _SMALLEST_TEXT})
    visual = model.get_submodule("visual")
    if not isinstance(visual, VisionTransformer) or model_cfg["vision_cfg"].get("layers", 12) < 2:
        raise ConfigError(
            f"vision.model is {config.model}, whose tower is a {type(visual).__name__}. Expected "
            "a plain ViT of two layers or more. Take a ViT-* model."
        )
    tower: nn.Module = visual
    return tower


def _check_sizes(config: VisionConfig, model_cfg: ModelCfg) -> None:
    found = model_cfg["vision_cfg"]
    sizes = {
        "image_size": (config.image_size, found.get("image_size", 224)),
        "patch_size": (config.patch_size, found.get("patch_size", 16)),
        "hidden_size": (config.hidden_size, found.get("width", 768)),
    }
    for key, (asked, real) in sizes.items():
        if asked != real:
            raise ConfigError(
                f"vision.{key} is {asked}, but the tower {config.model} has {real}. Set "
                f"vision.{key}={real}."
            )


def _per_channel(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values).view(3, 1, 1)  # (3, 1, 1)
