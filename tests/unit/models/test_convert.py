import pytest
import torch

from phiray.errors import CheckpointError
from phiray.models.convert import litgpt_from_phi, phi_from_litgpt
from tests.model_builders import moe_config, tiny_phi


def test_there_and_back_is_bit_equal() -> None:
    tensors = tiny_phi().state_dict()
    back = phi_from_litgpt(litgpt_from_phi(tensors))
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_names_without_prefix_are_read_too() -> None:
    prefixed = litgpt_from_phi(tiny_phi().state_dict())
    plain = {name.removeprefix("gpt."): tensor for name, tensor in prefixed.items()}
    assert set(phi_from_litgpt(plain)) == set(phi_from_litgpt(prefixed))


def test_model_with_experts_is_refused() -> None:
    with pytest.raises(CheckpointError, match="dense Phi-2 does not have"):
        litgpt_from_phi(tiny_phi(moe_config()).state_dict())


def test_foreign_name_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"hold 'attn\.bogus'"):
        phi_from_litgpt({"transformer.h.0.attn.bogus.weight": torch.zeros(1)})
