import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from phiray.models.moe import Routing
from phiray.models.router_losses import compute_router_losses
from tests.model_builders import assert_near

NUM_EXPERTS = 4
K = 2


def _routing(batch: int, seq: int, *, seed: int = 0) -> Routing:
    logits = torch.randn(batch, seq, NUM_EXPERTS, generator=torch.Generator().manual_seed(seed))
    probabilities = logits.softmax(dim=-1)
    chosen = probabilities.topk(K, dim=-1)
    return Routing(
        router_logits=logits,
        router_probabilities=probabilities,
        expert_indices=chosen.indices,
        expert_weights=chosen.values,
    )


def test_balance_of_one_sequence_equals_mixtral_over_k() -> None:
    routing = _routing(1, 50)
    theirs = load_balancing_loss_func(
        (routing.router_logits.flatten(0, 1),), num_experts=NUM_EXPERTS, top_k=K
    )
    assert_near(compute_router_losses([routing]).balance, (theirs / K).view(1))


def test_even_router_gives_one_per_layer_and_the_known_z() -> None:
    logits = torch.zeros(1, 2, NUM_EXPERTS)
    routing = Routing(
        router_logits=logits,
        router_probabilities=logits.softmax(dim=-1),
        expert_indices=torch.tensor([[[0, 1], [2, 3]]]),
        expert_weights=torch.full((1, 2, K), 0.5),
    )
    losses = compute_router_losses([routing, routing, routing])
    assert_near(losses.balance, torch.tensor([3.0]))
    assert_near(losses.z, torch.tensor([3 * torch.tensor(4.0).log().square()]))
    assert losses.expert_counts.tolist() == [[1.0, 1.0, 1.0, 1.0]] * 3


def test_padding_counts_nowhere() -> None:
    routing = _routing(2, 9)
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[1, 5:] = 0
    padded = compute_router_losses([routing], attention_mask=mask)
    short = compute_router_losses(
        [
            Routing(
                router_logits=routing.router_logits[1:, :5],
                router_probabilities=routing.router_probabilities[1:, :5],
                expert_indices=routing.expert_indices[1:, :5],
                expert_weights=routing.expert_weights[1:, :5],
            )
        ]
    )
    assert_near(padded.balance[1:], short.balance)
    assert_near(padded.z[1:], short.z)
    assert padded.expert_counts.sum() == (9 + 5) * K


def test_sequences_add_up_over_batches() -> None:
    whole = _routing(2, 6)
    mask = torch.ones(2, 6)
    mask[1] = 0  # a filler row
    losses = compute_router_losses([whole], attention_mask=mask)
    assert losses.balance[1] == 0
    assert losses.z[1] == 0
    assert losses.expert_counts.sum() == 6 * K


def test_losses_are_those_of_fp32_under_autocast() -> None:
    routings, mask = [_routing(2, 50), _routing(2, 50, seed=1)], torch.ones(2, 50)
    wanted = compute_router_losses(routings, attention_mask=mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = compute_router_losses(routings, attention_mask=mask)
    assert torch.equal(found.balance, wanted.balance)
    assert torch.equal(found.z, wanted.z)
