"""Balance and z loss of all routers of a model, one value per sequence.

Source: load balance of Switch Transformer (arXiv 2101.03961) in OLMo-core's form, z-loss of
ST-MoE (2202.08906).
Limits: each sequence balances by itself, so that the values add up over ranks and micro-batches.
"""

import torch
from torch import Tensor

from phiray.batch import RouterLosses
from phiray.models.moe import Routing


def compute_router_losses(
    routings: list[Routing], *, attention_mask: Tensor | None = None
) -> RouterLosses:
    """Sum both losses over layers: `experts / k * sum_e f_e p_e` and mean squared log-sum-exp.

    Args:
        routings: one per layer.
        attention_mask: (batch, seq), 1 for real positions; none takes all as real.

    Returns:
        Losses per sequence, over its real positions only, and the slots of each expert.
    """
    # (layers, batch, seq, experts) twice, then (layers, batch, seq, k):
    logits = torch.stack([routing.router_logits for routing in routings])
    probabilities = torch.stack([routing.router_probabilities for routing in routings])
    indices = torch.stack([routing.expert_indices for routing in routings])
    _, batch, seq, num_experts = logits.shape
    real = logits.new_ones(batch, seq)  # (batch, seq)
    if attention_mask is not None:
        real = attention_mask.to(logits.dtype)
    lengths = real.sum(dim=1).clamp(min=1)  # (batch,)
    # (layers, batch, experts) each:
    counts = _count_slots(indices, real, num_experts=num_experts)
    # Products and sums, not einsum: autocast would run that in bf16.
    means = (probabilities * real[..., None]).sum(dim=2) / lengths[:, None]
    fractions = counts / lengths[:, None]
    balance = (fractions * means).sum(dim=(0, 2)) * (num_experts / indices.shape[-1])  # (batch,)
    squares = logits.logsumexp(dim=-1).square()  # (layers, batch, seq)
    z = (squares * real).sum(dim=(0, 2)) / lengths  # (batch,)
    expert_counts = counts.sum(dim=1)  # (layers, experts)
    return RouterLosses(balance=balance, z=z, expert_counts=expert_counts)


def _count_slots(indices: Tensor, real: Tensor, *, num_experts: int) -> Tensor:
    layers, batch, _, k = indices.shape
    slots = indices.flatten(2)  # (layers, batch, slots)
    weights = real.repeat_interleave(k, dim=1).expand(layers, -1, -1)  # (layers, batch, slots)
    counts = real.new_zeros(layers, batch, num_experts)
    return counts.scatter_add_(2, slots, weights)  # (layers, batch, experts)
