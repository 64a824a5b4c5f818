"""Changing token t changes no logit before t: Phi, its mixtures, litgpt; the router included."""

import pytest
import torch
from torch import Tensor

from phiray.config.model import MoeConfig
from phiray.models.build import build_language_model
from phiray.models.interface import TokenModel
from tests.model_builders import (
    IMAGE_ID,
    all_logits,
    moe_config,
    phi_config,
    random_ids,
    scramble,
    tiny_phi,
)

CHANGED = 9


def _change(ids: Tensor) -> Tensor:
    other = ids.clone()
    other[:, CHANGED] = (other[:, CHANGED] + 1) % IMAGE_ID
    return other


def _assert_causal(model: TokenModel) -> None:
    ids = random_ids(2, 20)
    before, after = all_logits(model, ids), all_logits(model, _change(ids))
    torch.testing.assert_close(before[:, :CHANGED], after[:, :CHANGED], rtol=0, atol=1e-6)
    moved = (before[:, CHANGED:] - after[:, CHANGED:]).abs().amax(dim=(0, 2))
    assert (moved > 1e-4).all()  # this position and all after it do see the change


@pytest.mark.parametrize("moe", [None, moe_config(), moe_config(top=1), moe_config("soft")])
def test_phi_logits_do_not_look_ahead(moe: MoeConfig | None) -> None:
    _assert_causal(tiny_phi(moe))


def test_litgpt_logits_do_not_look_ahead() -> None:
    model = build_language_model(phi_config(), kind="litgpt", seed=0)
    scramble(model)
    _assert_causal(model)


def test_router_choices_do_not_look_ahead() -> None:
    model = tiny_phi(moe_config())
    ids = random_ids(2, 20)
    chosen = []
    for row in (ids, _change(ids)):
        _, routings = model.model(model.embed(row))
        chosen.append(torch.stack([routing.expert_indices for routing in routings]))
    first, second = chosen
    torch.testing.assert_close(first[:, :, :CHANGED], second[:, :, :CHANGED], rtol=0, atol=0)
    assert not torch.equal(first, second)
