"""Our Phi, transformers' PhiForCausalLM and litgpt.GPT give the same logits and gradients."""

import litgpt
import pytest
import torch
from transformers import PhiConfig as HuggingFaceConfig
from transformers import PhiForCausalLM

from phiray.config.model import PhiConfig
from phiray.losses import next_token_losses
from phiray.models.convert import litgpt_from_phi, phi_from_litgpt
from phiray.models.litgpt_gpt import build_gpt
from phiray.models.litgpt_phi import LitgptPhi
from phiray.models.phi import Phi
from tests.model_builders import (
    VOCAB_SIZE,
    all_logits,
    assert_near,
    phi_config,
    random_ids,
    tiny_phi,
)


@pytest.fixture
def ours() -> Phi:
    return tiny_phi(seed=3)


@pytest.fixture
def theirs(ours: Phi) -> PhiForCausalLM:
    config = phi_config()
    model = PhiForCausalLM(
        HuggingFaceConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            resid_pdrop=0.0,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": config.rope_theta,
                "partial_rotary_factor": config.partial_rotary_factor,
            },
        )
    )
    model.load_state_dict(ours.state_dict())
    return model


@pytest.fixture
def lit(ours: Phi) -> LitgptPhi:
    model = LitgptPhi(build_gpt(phi_config()))
    model.load_state_dict(litgpt_from_phi(ours.state_dict()))
    return model


def test_logits_equal_transformers(ours: Phi, theirs: PhiForCausalLM) -> None:
    ids = random_ids(2, 33)
    expected = theirs(ids).logits
    assert expected.std() > 0.1  # logits of any size, not all zeros
    assert_near(all_logits(ours, ids), expected)


def test_logits_equal_litgpt(ours: Phi, lit: LitgptPhi) -> None:
    ids = random_ids(2, 33)
    assert_near(all_logits(ours, ids), lit.gpt(ids))


def test_wrapped_litgpt_equals_its_own_forward(lit: LitgptPhi) -> None:
    ids = random_ids(2, 33)
    torch.testing.assert_close(all_logits(lit, ids), lit.gpt(ids), rtol=0, atol=0)


def test_loss_and_gradients_equal_transformers(ours: Phi, theirs: PhiForCausalLM) -> None:
    ids = random_ids(2, 33)
    labels = ids.clone()
    labels[0, :7] = -100
    losses = next_token_losses(
        ours.decode(ours.embed(ids)).hidden_states, labels, project=ours.project
    )
    loss = losses.sums.sum() / losses.counts.sum()
    expected = theirs(ids, labels=labels).loss
    torch.autograd.backward(loss)
    expected.backward()
    assert_near(loss, expected)
    wanted = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert_near(parameter.grad, wanted[name].grad)


def test_loss_gradients_equal_litgpt(ours: Phi, lit: LitgptPhi) -> None:
    ids = random_ids(2, 17)
    for model in (ours, lit):
        hidden_states = model.decode(model.embed(ids)).hidden_states
        losses = next_token_losses(hidden_states, ids, project=model.project)
        torch.autograd.backward(losses.sums.mean())
    gradients = {name: p.grad for name, p in lit.named_parameters() if p.grad is not None}
    converted = phi_from_litgpt(gradients)
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert_near(parameter.grad, converted[name])


def test_phi_2_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        published = litgpt.GPT(litgpt.Config.from_name("phi-2"))
        model = Phi(PhiConfig())
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(parameter.numel() for parameter in published.parameters())
    assert count == 2_779_683_840
