"""Map CLIP patch features into the language model's embedding space.

Source: `linear` and `mlp` of LLaVA (arXiv 2304.08485, 2310.03744); `moe` is the student project's
PatchReducerWithProjections: a softmax mixture of six linear experts, four residual layers, then a
linear layer (10,241,542 parameters from 768 to 2560).
Limits: one embedding per patch; no resampling. A single expert per patch is scaled by its
probability.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor, nn

from phiray.config.model import ProjectorConfig
from phiray.errors import ShapeError
from phiray.models.dispatch import mix_experts, multiply_by_expert


class Projector(nn.Module):
    """A projector of any kind, that checks what it is given."""

    def __init__(self, layers: nn.Module, *, vision_hidden_size: int) -> None:
        """Wrap the layers; `vision_hidden_size` is their input's width."""
        super().__init__()
        self.layers = layers
        self.vision_hidden_size = vision_hidden_size

    def forward(self, image_features: Tensor) -> Tensor:
        """Project patch features.

        Args:
            image_features: (images, patches, vision_hidden).

        Returns:
            (images, patches, hidden), same dtype.

        Raises:
            ShapeError: if the last dimension is not `vision_hidden_size`.
        """
        if image_features.shape[-1] != self.vision_hidden_size:
            raise ShapeError(
                f"Image features are {image_features.shape[-1]} wide, but this projector takes "
                f"vision.hidden_size={self.vision_hidden_size}. Use the tower it was built for."
            )
        image_embeds: Tensor = self.layers(image_features)  # (images, patches, hidden)
        return image_embeds


class PatchExperts(nn.Module):
    """Linear experts mixed per patch: all of them, or the top few."""

    def __init__(self, config: ProjectorConfig, size: int) -> None:
        """Make `num_experts` maps from `size` to `size`."""
        super().__init__()
        self.num_experts = config.num_experts
        self.num_chosen = config.num_experts_per_token
        self.gate = nn.Linear(size, config.num_experts)
        self.weight = nn.Parameter(torch.empty(config.num_experts, size, size))
        self.bias = nn.Parameter(torch.empty(config.num_experts, size))
        bound = size**-0.5  # what nn.Linear takes
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, image_features: Tensor) -> Tensor:
        """Map (images, patches, vision_hidden) -> the same shape."""
        tokens = image_features.flatten(0, 1)  # (tokens, vision_hidden)
        with torch.autocast(tokens.device.type, enabled=False):
            gate_weight, gate_bias = self.gate.weight.float(), self.gate.bias.float()
            logits = F.linear(tokens.float(), gate_weight, gate_bias)  # (tokens, experts)
        probabilities = logits.softmax(dim=-1)  # (tokens, experts)
        if self.num_chosen is None:
            mixed = self._mix_all(tokens, probabilities)  # (tokens, vision_hidden)
        else:
            weights, indices = probabilities.topk(self.num_chosen, dim=-1)  # (tokens, k) each
            if self.num_chosen > 1:
                # A single choice keeps its probability (as in Switch): normalised it would always
                # be 1, and the gate would learn nothing from the patches.
                weights = weights / weights.sum(dim=-1, keepdim=True)
            mixed = mix_experts(
                tokens,
                indices,
                expert_weights=weights,
                num_experts=self.num_experts,
                run_experts=self._run_experts,
            )  # (tokens, vision_hidden)
        return mixed.view(image_features.shape)  # (images, patches, vision_hidden)

    def _run_experts(self, slots: Tensor, counts: list[int]) -> Tensor:
        products = multiply_by_expert(slots, self.weight, counts=counts)
        added = [part + bias for part, bias in zip(products, self.bias.unbind(0), strict=True)]
        return torch.cat(added)  # (slots, vision_hidden)

    def _mix_all(self, tokens: Tensor, expert_weights: Tensor) -> Tensor:
        weights = expert_weights.to(tokens.dtype)  # (tokens, experts)
        # (tokens, experts, vision_hidden), then (tokens, vision_hidden):
        results = torch.einsum("nd,edo->neo", tokens, self.weight) + self.bias
        return torch.einsum("neo,ne->no", results, weights.to(results.dtype))


class ResidualLayer(nn.Module):
    """Two layers added to their input."""

    def __init__(self, size: int) -> None:
        """Make both layers `size` wide."""
        super().__init__()
        self.fc1 = nn.Linear(size, size)
        self.fc2 = nn.Linear(size, size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (images, patches, vision_hidden) -> the same shape."""
        change: Tensor = self.fc2(F.gelu(self.fc1(hidden_states)))
        return hidden_states + change


def build_projector(
    config: ProjectorConfig, *, vision_hidden_size: int, hidden_size: int, seed: int = 0
) -> Projector:
    """Build a projector whose weights are a pure function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = _LAYERS[config.kind](config, vision_hidden_size, hidden_size)
    return Projector(layers, vision_hidden_size=vision_hidden_size)


def _build_linear(_: ProjectorConfig, vision_hidden_size: int, hidden_size: int) -> nn.Module:
    return nn.Sequential(nn.Linear(vision_hidden_size, hidden_size))


def _build_mlp(config: ProjectorConfig, vision_hidden_size: int, hidden_size: int) -> nn.Module:
    inner = config.intermediate_size or hidden_size
    widths = [vision_hidden_size, *[inner] * (config.num_layers - 1), hidden_size]
    layers: list[nn.Module] = [nn.Linear(widths[0], widths[1])]
    for narrow, wide in pairwise(widths[1:]):
        layers += [nn.GELU(), nn.Linear(narrow, wide)]
    return nn.Sequential(*layers)


def _build_moe(config: ProjectorConfig, vision_hidden_size: int, hidden_size: int) -> nn.Module:
    residual = [ResidualLayer(vision_hidden_size) for _ in range(config.num_residual_layers)]
    return nn.Sequential(
        PatchExperts(config, vision_hidden_size),
        *residual,
        nn.Linear(vision_hidden_size, hidden_size),
    )


_LAYERS = {"linear": _build_linear, "mlp": _build_mlp, "moe": _build_moe}
