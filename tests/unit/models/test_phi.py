import pytest
import torch

from phiray.errors import ConfigError, ShapeError
from phiray.models.build import build_language_model
from tests.model_builders import (
    all_logits,
    assert_near,
    make_batch,
    moe_config,
    phi_config,
    random_ids,
    tiny_phi,
)


def test_padding_at_the_end_changes_no_real_logit() -> None:
    model = tiny_phi(moe_config())
    ids = random_ids(2, 12)
    padded = torch.cat((ids, torch.zeros(2, 4, dtype=torch.int64)), dim=1)
    assert_near(all_logits(model, padded)[:, :12], all_logits(model, ids))


@torch.no_grad()
def test_decode_with_a_cache_equals_decode_at_once() -> None:
    model = tiny_phi(moe_config())
    embeds = model.embed(random_ids(2, 12))
    whole = model.decode(embeds).hidden_states
    cache = model.new_cache()
    parts = [
        model.decode(embeds[:, start:end], cache=cache).hidden_states
        for start, end in ((0, 5), (5, 6), (6, 10), (10, 12))
    ]
    assert_near(torch.cat(parts, dim=1), whole)


def test_new_experts_leave_a_dense_models_logits_unchanged() -> None:
    dense, config = tiny_phi(), phi_config(moe_config())
    upcycled = build_language_model(config, kind="phi", seed=1)
    missing = upcycled.load_state_dict(dense.state_dict(), strict=False).missing_keys
    assert missing
    assert all(".moe." in name for name in missing)
    ids = random_ids(2, 12)
    torch.testing.assert_close(all_logits(upcycled, ids), all_logits(dense, ids), rtol=0, atol=0)


def test_router_losses_come_with_experts_only() -> None:
    ids = random_ids(2, 12)
    dense, sparse = tiny_phi(), tiny_phi(moe_config())
    assert dense.decode(dense.embed(ids)).router is None
    router = sparse.decode(sparse.embed(ids)).router
    assert router is not None
    assert router.balance.shape == (2,)
    assert router.expert_counts.shape == (3, 4)
    assert router.expert_counts.sum(dim=1).tolist() == [2 * 12 * 2] * 3


def test_router_losses_leave_padding_out() -> None:
    model = tiny_phi(moe_config())
    ids = random_ids(2, 12)
    mask = torch.ones_like(ids)
    mask[:, 8:] = 0
    batch = make_batch(ids, attention_mask=mask)
    padded = model.decode(model.embed_batch(batch), attention_mask=mask).router
    short = model.decode(model.embed(ids[:, :8])).router
    assert padded is not None
    assert short is not None
    assert_near(padded.balance, short.balance)
    assert_near(padded.z, short.z)


def test_every_parameter_has_a_gradient() -> None:
    model = tiny_phi(moe_config())
    output = model.decode(model.embed(random_ids(1, 2)))
    torch.autograd.backward(model.project(output.hidden_states).sum())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_router_bias_moves_towards_idle_experts() -> None:
    config = moe_config().model_copy(update={"bias_update_rate": 0.1})
    model = tiny_phi(config)
    model.update_router_bias(torch.tensor([[0.0, 4.0, 4.0, 8.0]]).expand(3, -1))
    bias = model.state_dict()["model.layers.2.moe.router.bias"]
    assert_near(bias, torch.tensor([0.1, 0.0, 0.0, -0.1]))


def test_router_bias_stays_centred() -> None:
    config = moe_config().model_copy(update={"bias_update_rate": 0.1})
    model = tiny_phi(config)
    model.update_router_bias(torch.tensor([[0.0, 1.0, 1.0, 6.0]]).expand(3, -1))
    bias = model.state_dict()["model.layers.0.moe.router.bias"]
    assert_near(bias, torch.tensor([0.05, 0.05, 0.05, -0.15]))


def test_router_bias_of_a_dense_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.moe is null"):
        tiny_phi().update_router_bias(torch.zeros(3, 4))


def test_row_longer_than_the_positions_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"65 tokens long, but model\.max_position\w+ is 64"):
        all_logits(tiny_phi(), random_ids(1, 65))
