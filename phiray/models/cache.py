"""Keys and values of the positions seen so far, so that decoding a token costs one position.

Source: the usual key/value cache; buffers double in size, so appending T tokens copies O(T).
Limits: no gradient flows through the cache; all rows of a batch are equally long.
"""

import torch
from torch import Tensor

from phiray.errors import ShapeError

FIRST_CAPACITY = 128
"""Positions of the first buffer: a prompt of one image and a caption fits without growing."""


class KeyValueCache:
    """Hold keys and values per layer; `append` returns all of them, the new ones included."""

    def __init__(self) -> None:
        """Start empty; buffers take the shape and type of what comes first."""
        self._buffers: dict[int, Tensor] = {}
        self._lengths: dict[int, int] = {}

    @property
    def length(self) -> int:
        """Positions held, counted after all layers have appended."""
        return min(self._lengths.values(), default=0)

    def append(self, layer: int, *, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append new positions of one layer and return all of its keys and values.

        Args:
            layer: index of the block.
            keys: (batch, heads, seq, head_dim), without gradient.
            values: (batch, heads, seq, head_dim), without gradient.

        Returns:
            Keys and values (batch, heads, length + seq, head_dim): views of the buffer.

        Raises:
            ShapeError: if a gradient is asked for, or the batch size changed.
        """
        if keys.requires_grad:
            raise ShapeError(
                "A cache was given while gradients are on; cached keys carry none. Decode under "
                "torch.no_grad(), or without a cache."
            )
        start = self._lengths.get(layer, 0)
        end = start + keys.shape[2]
        buffer = self._make_room(layer, keys, end=end)
        buffer[0, :, :, start:end] = keys
        buffer[1, :, :, start:end] = values
        self._lengths[layer] = end
        return buffer[0, :, :, :end], buffer[1, :, :, :end]

    def _make_room(self, layer: int, keys: Tensor, *, end: int) -> Tensor:
        buffer = self._buffers.get(layer)
        batch, heads, _, head_dim = keys.shape
        if buffer is not None and buffer.shape[1] != batch:
            raise ShapeError(
                f"The cache holds {buffer.shape[1]} rows, but {batch} came. "
                "Use one cache per batch."
            )
        if buffer is not None and buffer.shape[3] >= end:
            return buffer
        held = 0 if buffer is None else buffer.shape[3]
        capacity = max(FIRST_CAPACITY, 2 * held, end)
        grown = keys.new_empty(2, batch, heads, capacity, head_dim)
        if buffer is not None:
            grown[:, :, :, :held] = buffer
        self._buffers[layer] = grown
        return grown


def cached_causal_mask(new: int, total: int, *, device: torch.device) -> Tensor:
    """Let each of the last `new` of `total` positions see itself and all before.

    Returns:
        (new, total) bool, True where attention is allowed.
    """
    allowed = torch.ones(new, total, dtype=torch.bool, device=device)
    return allowed.tril(diagonal=total - new)
