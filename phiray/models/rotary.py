"""Rotary position embedding on the first channels of each head.

Source: RoFormer (arXiv 2104.09864) in the half-split form of Phi in transformers.
Limits: plain angles, no scaling of the context length.
"""

import torch
from torch import Tensor, nn

from phiray.config.model import PhiConfig
from phiray.errors import ShapeError


class Rotary(nn.Module):
    """Angles of all positions, computed once in fp32; not part of the state dict."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: PhiConfig) -> None:
        """Compute cosine and sine for `max_position_embeddings` positions."""
        super().__init__()
        channels = torch.arange(0, config.rotary_dim, 2, dtype=torch.float32)  # (rotary / 2,)
        frequencies = 1.0 / (config.rope_theta ** (channels / config.rotary_dim))
        positions = torch.arange(config.max_position_embeddings, dtype=torch.float32)  # (seq,)
        angles = torch.outer(positions, frequencies)  # (seq, rotary / 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, start: int, length: int) -> tuple[Tensor, Tensor]:
        """Return cosine and sine of positions `start` to `start + length`.

        Returns:
            Two tensors (seq, 1, rotary / 2) fp32, that broadcast over heads.

        Raises:
            ShapeError: if the last position is beyond `max_position_embeddings`.
        """
        end = start + length
        if end > self.cos.shape[0]:
            raise ShapeError(
                f"A row is {end} tokens long, but model.max_position_embeddings is "
                f"{self.cos.shape[0]}. Shorten the rows, or train a model with more positions."
            )
        return self.cos[start:end, None], self.sin[start:end, None]  # (seq, 1, rotary / 2)


def rotate(states: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the first channels of each head by its position's angles.

    Args:
        states: (batch, seq, heads, head_dim); queries and keys may stand side by side as heads.
        angles: cosine and sine, each (seq, 1, rotary / 2) or (batch, seq, 1, rotary / 2).

    Returns:
        (batch, seq, heads, head_dim), same dtype.
    """
    cos, sin = (angle.to(states.dtype) for angle in angles)
    half = cos.shape[-1]
    first, second = states[..., :half], states[..., half : 2 * half]  # (batch, seq, heads, half)
    turned_first = torch.addcmul(first * cos, second, sin, value=-1)
    turned_second = torch.addcmul(second * cos, first, sin)
    rest = states[..., 2 * half :]  # (batch, seq, heads, head_dim - rotary)
    return torch.cat((turned_first, turned_second, rest), dim=-1)  # (batch, seq, heads, head_dim)
