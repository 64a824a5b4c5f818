from typing import cast

import pytest
import torch
from torch import nn

from phiray.training.collective import Collective
from phiray.training.parallel import gradient_sync, unwrap_objective, wrap_objective
from tests.unit.training.four_processes import Report
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


@pytest.mark.slow
def test_workers_train_the_projector_alike_and_never_send_what_is_frozen(
    four_reports: list[Report],
) -> None:
    """Only one of the four had a picture."""
    found = [cast(Report, report["frozen"]) for report in four_reports]
    for report in found:
        assert report == found[0]
    assert found[0]["changed"] == ["projector.layers.weight", "projector.layers.bias"]
    unsent = cast(list[str], found[0]["unsent"])
    assert {"model.vision.weight", "model.vision.mean"} < set(unsent)
    assert not any("projector" in name for name in unsent)
