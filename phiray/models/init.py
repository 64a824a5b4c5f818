"""Seeded random weights: each tensor is a pure function of the seed and its own name.

Source: PhiPreTrainedModel of transformers: normal weights, zero biases, layer norms 1 and 0.
Limits: bit-equal on one torch version and on the CPU only.
"""

import hashlib

import torch
from torch import Tensor

from phiray.config.model import PhiConfig

ONES = ("layernorm.weight",)
"""Name endings of tensors that start at 1."""

ZEROS = (".bias", ".moe.fc2")
"""Name endings of tensors that start at 0: biases, and the experts' last layer."""


def random_tensor(name: str, shape: torch.Size, *, config: PhiConfig, seed: int) -> Tensor:
    """Draw one tensor by its Hugging Face name -> fp32 of that shape.

    Since the name keys the generator, a dense model and one with experts share all the weights
    that both have, and so do Phi and LitGPT's model.
    """
    if name.endswith(ONES):
        return torch.ones(shape)
    if name.endswith(ZEROS):
        return torch.zeros(shape)
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.empty(shape).normal_(std=config.initializer_range, generator=generator)
