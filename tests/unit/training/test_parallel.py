import torch
from torch import nn

from phiray.training.collective import Collective
from phiray.training.parallel import gradient_sync, unwrap_objective, wrap_objective
from tests.unit.training.training_builders import CPU, build_objective


def test_one_worker_needs_no_wrapper() -> None:
    objective = build_objective()
    module = wrap_objective(objective, collective=Collective(), device=CPU)
    assert module is objective
    assert unwrap_objective(module) is objective


def test_gradient_sync_of_one_worker_does_nothing() -> None:
    layer = nn.Linear(1, 1)
    with gradient_sync(layer, is_wanted=False):
        layer(torch.ones(1)).sum().backward()
    assert layer.weight.grad is not None
