import pytest
import torch
from torch import nn

from phiray.config.training import TrainingConfig
from phiray.errors import ConfigError
from phiray.training.optimizer import build_optimizer, set_learning_rate
from tests.unit.training.training_builders import build_phi

TRAINING = TrainingConfig(weight_decay=0.3, learning_rate=0.01)


def test_build_optimizer_decays_matrices_only() -> None:
    model = build_phi()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(model, training=TRAINING)
    decayed, plain = (
        {names[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups
    )
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
    assert decayed | plain == set(names.values())
    assert "lm_head.weight" in decayed
    assert "model.layers.0.self_attn.q_proj.weight" in decayed
    assert "model.embed_tokens.weight" in plain
    assert "model.layers.0.input_layernorm.weight" in plain
    assert not any("bias" in name for name in decayed)


def test_build_optimizer_leaves_frozen_weights_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(requires_grad=False)
    groups = build_optimizer(model, training=TRAINING).param_groups
    assert {id(p) for group in groups for p in group["params"]} == {
        id(p) for p in model[1].parameters()
    }


def test_build_optimizer_refuses_a_model_that_is_all_frozen() -> None:
    model = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    with pytest.raises(ConfigError, match="no trainable parameter"):
        build_optimizer(model, training=TRAINING)


def test_build_optimizer_equals_plain_adamw_step_by_step() -> None:
    """Parity with AdamW written out from arXiv 1711.05101, algorithm 2."""
    layer = nn.Linear(3, 1, bias=False)
    weight = layer.weight.detach().clone().double()
    optimizer = build_optimizer(layer, training=TRAINING)
    mean, square = torch.zeros(1, 3).double(), torch.zeros(1, 3).double()
    for step in range(1, 4):
        gradient = torch.tensor([[1.0, -2.0, 0.5]]) * step
        layer.weight.grad = gradient
        set_learning_rate(optimizer, 0.01 * step)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        corrected = (mean / (1 - 0.9**step)) / ((square / (1 - 0.95**step)).sqrt() + 1e-8)
        weight = weight - 0.01 * step * (corrected + 0.3 * weight)
    torch.testing.assert_close(layer.weight.detach().double(), weight, rtol=1e-5, atol=1e-6)
