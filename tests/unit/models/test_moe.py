import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from torch import Tensor

from phiray.config.model import MoeConfig
from phiray.models.moe import MixtureOfExperts
from tests.model_builders import assert_near, moe_config, scramble

HIDDEN = 20


def _build(config: MoeConfig) -> MixtureOfExperts:
    moe = MixtureOfExperts(config, hidden_size=HIDDEN)
    scramble(moe, scale=0.5)
    return moe


def _mix_token_by_token(moe: MixtureOfExperts, states: Tensor, *, k: int) -> Tensor:
    """Follow the definition with plain products, one token at a time."""
    rows = []
    for token in states.flatten(0, 1):
        probabilities = (moe.router.weight @ token).softmax(dim=0)
        chosen = (probabilities + moe.router.bias).argsort(descending=True)[:k]
        shares = probabilities[chosen]
        if k > 1:
            shares = shares / shares.sum()
        parts = [
            F.gelu(token @ moe.fc1[expert], approximate="tanh") @ moe.fc2[expert]
            for expert in chosen
        ]
        rows.append((shares[:, None] * torch.stack(parts)).sum(dim=0))
    return torch.stack(rows).view(states.shape)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_sparse_mixture_equals_the_definition_token_by_token(k: int) -> None:
    moe = _build(moe_config(top=k))
    states = torch.randn(2, 7, HIDDEN)
    assert_near(moe(states)[0], _mix_token_by_token(moe, states, k=k))


def test_soft_mixture_equals_sparse_with_all_experts() -> None:
    soft, sparse = _build(moe_config("soft")), _build(moe_config(top=4))
    sparse.load_state_dict(soft.state_dict())
    states = torch.randn(2, 7, HIDDEN)
    assert_near(soft(states)[0], sparse(states)[0])


def test_new_mixture_adds_nothing() -> None:
    moe = MixtureOfExperts(moe_config(), hidden_size=HIDDEN)
    assert moe(torch.randn(2, 7, HIDDEN))[0].abs().max() == 0


def test_mixture_does_not_depend_on_the_rest_of_the_batch() -> None:
    moe = _build(moe_config())
    states = torch.randn(3, 7, HIDDEN)
    assert_near(moe(states)[0][1:2], moe(states[1:2])[0])


@pytest.mark.parametrize("config", [moe_config(), moe_config(top=1), moe_config("soft")])
def test_every_parameter_has_a_gradient(config: MoeConfig) -> None:
    moe = _build(config)
    torch.autograd.backward(moe(torch.randn(1, 1, HIDDEN))[0].sum())  # most experts idle
    assert all(parameter.grad is not None for parameter in moe.parameters())
    assert moe.router.weight.grad is not None
    assert moe.router.weight.grad.abs().sum() > 0


def test_bias_changes_the_choice_but_not_the_weights() -> None:
    moe = _build(moe_config())
    states = torch.randn(1, 30, HIDDEN)
    moe.router.bias[3] = 10.0
    routing = moe.router(states)
    assert (routing.expert_indices == 3).any(dim=-1).all()
    chosen = routing.router_probabilities.gather(-1, routing.expert_indices)
    assert_near(routing.expert_weights, chosen / chosen.sum(dim=-1, keepdim=True))


def test_router_stays_in_fp32_under_autocast() -> None:
    moe = _build(moe_config())
    states = torch.randn(1, 9, HIDDEN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, routing = moe(states)
    assert routing.router_logits.dtype == torch.float32
    assert_near(routing.router_logits, states @ moe.router.weight.T)
    torch.testing.assert_close(mixed.float(), moe(states)[0], rtol=0.1, atol=0.1)
