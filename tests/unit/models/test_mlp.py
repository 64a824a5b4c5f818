import torch
from transformers.activations import NewGELUActivation

from phiray.models.mlp import Mlp
from tests.model_builders import phi_config, scramble


def test_mlp_uses_transformers_gelu_new() -> None:
    config = phi_config()
    mlp = Mlp(config)
    scramble(mlp, scale=1.0)
    states = torch.randn(2, 5, config.hidden_size)
    expected = mlp.fc2(NewGELUActivation()(mlp.fc1(states)))
    torch.testing.assert_close(mlp(states), expected, rtol=1e-5, atol=1e-4)
