"""Send each token to its experts and back: sort once, run each expert on one slice, unsort.

Source: the dropless permutation of MegaBlocks (arXiv 2211.15841), without padding.
Limits: experts run on this device, one product after another; no expert parallelism.
"""

from collections.abc import Callable

import torch
from torch import Tensor

RunExperts = Callable[[Tensor, list[int]], Tensor]
"""Maps (slots, hidden) sorted by expert, and the slots of each expert, to (slots, out)."""


def mix_experts(
    tokens: Tensor,
    expert_indices: Tensor,
    *,
    expert_weights: Tensor,
    num_experts: int,
    run_experts: RunExperts,
) -> Tensor:
    """Run the chosen experts of each token and add their results up by weight.

    Args:
        tokens: (tokens, hidden).
        expert_indices: (tokens, k) int64 in [0, num_experts).
        expert_weights: (tokens, k).
        num_experts: experts there are.
        run_experts: the experts themselves.

    Returns:
        (tokens, out), dtype of the experts' results.
    """
    num_tokens, k = expert_indices.shape
    flat = expert_indices.flatten()  # (slots,)
    order = flat.argsort(stable=True)  # (slots,)
    counts = torch.bincount(flat, minlength=num_experts).tolist()
    # Repeating before sorting keeps every index unique, so that the backward pass adds nothing up
    # in an order of the device's choosing.
    repeated = tokens.unsqueeze(1).expand(-1, k, -1).flatten(0, 1)  # (slots, hidden)
    results = run_experts(repeated.index_select(0, order), counts)  # (slots, out)
    places = torch.arange(len(order), device=order.device)
    inverse = torch.empty_like(order).scatter_(0, order, places)  # (slots,)
    results = results.index_select(0, inverse)  # (slots, out)
    results = results.view(num_tokens, k, results.shape[-1])  # (tokens, k, out)
    weights = expert_weights.to(results.dtype).unsqueeze(1)  # (tokens, 1, k)
    return torch.bmm(weights, results).squeeze(1)  # (tokens, out)


def multiply_by_expert(slots: Tensor, weights: Tensor, *, counts: list[int]) -> list[Tensor]:
    """Multiply each expert's slice of sorted slots by its own matrix.

    Args:
        slots: (slots, in), sorted by expert.
        weights: (experts, in, out); `unbind` makes one gradient for all of it, where indexing
            would make one of full size per expert.
        counts: slots of each expert.

    Returns:
        One (count, out) per expert.
    """
    parts = torch.split(slots, counts)
    return [part @ weight for part, weight in zip(parts, weights.unbind(0), strict=True)]
