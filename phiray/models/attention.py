"""Causal self-attention of Phi, through torch's fused attention.

Source: PhiAttention of transformers (same parameter names, biases on all four projections).
Limits: as many key/value heads as query heads, no dropout, no sliding window.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor, nn

from phiray.config.model import PhiConfig
from phiray.models.cache import KeyValueCache, cached_causal_mask
from phiray.models.rotary import rotate


class Attention(nn.Module):
    """Attend to this position and all before it."""

    def __init__(self, config: PhiConfig, layer: int) -> None:
        """Make the four projections; `layer` is this block's place in a cache."""
        super().__init__()
        size = config.hidden_size
        self.layer = layer
        self.num_attention_heads = config.num_attention_heads
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(size, size)
        self.k_proj = nn.Linear(size, size)
        self.v_proj = nn.Linear(size, size)
        self.dense = nn.Linear(size, size)

    def forward(
        self,
        hidden_states: Tensor,
        angles: tuple[Tensor, Tensor],
        *,
        cache: KeyValueCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Attend over the given positions, and over the cached ones before them.

        Args:
            hidden_states: (batch, seq, hidden), normalised.
            angles: rotary cosine and sine of these positions, each (seq, 1, rotary / 2), or
                (batch, seq, 1, rotary / 2) where rows do not all have the same.
            cache: keys and values of earlier positions; these are appended.
            mask: (batch, 1, seq, seq) bool, what each position sees, in place of all before it.

        Returns:
            (batch, seq, hidden).
        """
        batch, seq, hidden = hidden_states.shape
        heads = self.num_attention_heads
        # Queries and keys are turned together: half as many small operations.
        both = torch.cat((self.q_proj(hidden_states), self.k_proj(hidden_states)), dim=-1)
        both = both.view(batch, seq, 2 * heads, self.head_dim)  # (batch, seq, 2 heads, head_dim)
        turned = rotate(both, angles).transpose(1, 2)  # (batch, 2 heads, seq, head_dim)
        queries, keys = turned[:, :heads], turned[:, heads:]  # (batch, heads, seq, head_dim)
        values: Tensor = self.v_proj(hidden_states)
        values = values.view(batch, seq, heads, self.head_dim)  # (batch, seq, heads, head_dim)
        values = values.transpose(1, 2)  # (batch, heads, seq, head_dim)
        if mask is None:
            mixed = _attend(queries, keys, values, layer=self.layer, cache=cache)
        else:
            mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        mixed = mixed.transpose(1, 2).reshape(batch, seq, hidden)  # (batch, seq, hidden)
        output: Tensor = self.dense(mixed)
        return output


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, *, layer: int, cache: KeyValueCache | None
) -> Tensor:
    seq = queries.shape[2]
    if cache is not None:
        keys, values = cache.append(layer, keys=keys, values=values)
    total = keys.shape[2]
    if total == seq:
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    if seq == 1:
        return F.scaled_dot_product_attention(queries, keys, values)
    mask = cached_causal_mask(seq, total, device=queries.device)  # (seq, total)
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
