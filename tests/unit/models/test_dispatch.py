import torch
from torch import Tensor

from phiray.models.dispatch import mix_experts, multiply_by_expert

NUM_EXPERTS = 5


def _mix(tokens: Tensor, indices: Tensor, weights: Tensor, matrices: Tensor) -> Tensor:
    def run_experts(slots: Tensor, counts: list[int]) -> Tensor:
        return torch.cat(multiply_by_expert(slots, matrices, counts=counts))

    return mix_experts(
        tokens,
        indices,
        expert_weights=weights,
        num_experts=NUM_EXPERTS,
        run_experts=run_experts,
    )


def _mix_token_by_token(
    tokens: Tensor, indices: Tensor, weights: Tensor, matrices: Tensor
) -> Tensor:
    rows = []
    for token, chosen, shares in zip(tokens, indices, weights, strict=True):
        parts = [share * (token @ matrices[e]) for e, share in zip(chosen, shares, strict=True)]
        rows.append(torch.stack(parts).sum(dim=0))
    return torch.stack(rows)


def test_mix_equals_a_loop_over_tokens_in_value_and_gradient() -> None:
    torch.manual_seed(0)
    indices = torch.stack([torch.randperm(3)[:2] for _ in range(11)])  # experts 3 and 4 idle
    grads = []
    for mix in (_mix, _mix_token_by_token):
        torch.manual_seed(1)
        leaves = [
            torch.randn(11, 6, dtype=torch.float64, requires_grad=True),
            torch.rand(11, 2, dtype=torch.float64, requires_grad=True),
            torch.randn(NUM_EXPERTS, 6, 7, dtype=torch.float64, requires_grad=True),
        ]
        output = mix(leaves[0], indices, leaves[1], leaves[2])
        torch.autograd.backward(output.square().sum())
        grads.append([output.detach(), *(leaf.grad for leaf in leaves)])
    for ours, expected in zip(*grads, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_idle_expert_gets_a_zero_gradient_not_none() -> None:
    matrices = torch.randn(NUM_EXPERTS, 4, 4, requires_grad=True)
    indices = torch.zeros(3, 1, dtype=torch.int64)
    output = _mix(torch.randn(3, 4), indices, torch.ones(3, 1), matrices)
    torch.autograd.backward(output.sum())
    assert matrices.grad is not None
    assert matrices.grad[0].abs().sum() > 0
    assert matrices.grad[1:].abs().sum() == 0


def test_mix_of_no_tokens_is_empty() -> None:
    none = torch.zeros(0, 2, dtype=torch.int64)
    mixed = _mix(torch.zeros(0, 4), none, torch.zeros(0, 2), torch.ones(NUM_EXPERTS, 4, 3))
    assert mixed.shape == (0, 3)
