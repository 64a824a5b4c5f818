import pytest
import torch

from phiray.models.init import random_tensor
from phiray.models.phi import Phi
from tests.model_builders import moe_config, phi_config

CONFIG = phi_config()


def test_matrices_are_normal_with_the_configured_deviation() -> None:
    tensor = random_tensor(
        "model.layers.0.mlp.fc1.weight", torch.Size((400, 400)), config=CONFIG, seed=0
    )
    assert tensor.std().item() == pytest.approx(CONFIG.initializer_range, rel=0.02)
    assert abs(tensor.mean().item()) < 1e-3


def test_biases_and_last_expert_layers_are_zero_and_norms_one() -> None:
    for name, tensor in Phi(phi_config(moe_config())).state_dict().items():
        drawn = random_tensor(name, tensor.shape, config=CONFIG, seed=0)
        if "layernorm.weight" in name:
            assert (drawn == 1).all(), name
        elif name.endswith(("bias", "moe.fc2")):
            assert (drawn == 0).all(), name
        else:
            assert drawn.std() > 0.01, name


def test_two_names_have_unlike_weights() -> None:
    first, second = (
        random_tensor(
            f"model.layers.{layer}.mlp.fc1.weight", torch.Size((4, 4)), config=CONFIG, seed=0
        )
        for layer in (0, 1)
    )
    assert not torch.equal(first, second)
