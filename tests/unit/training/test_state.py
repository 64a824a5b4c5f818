from pathlib import Path

import pytest
import torch

from phiray.checkpoints.commit import commit_checkpoint
from phiray.config.training import StandardMethod
from phiray.errors import CheckpointError
from phiray.training.collective import Collective
from phiray.training.state import (
    TrainState,
    build_state,
    changing_tensors,
    checkpoint_tensors,
    frozen_tensors,
    restore_state,
)
from tests.unit.training.four_processes import fresh_state, weigh
from tests.unit.training.training_builders import CPU, build_objective, build_settings, train


def test_restore_state_brings_back_weights_moments_and_step(tmp_path: Path) -> None:
    trained, result = train(tmp_path)
    assert result.checkpoint is not None
    restored = fresh_state(Collective())
    restore_state(restored, result.checkpoint)
    assert restored.step == trained.step == 6
    assert weigh(restored) == weigh(trained)
    wanted, found = checkpoint_tensors(trained), checkpoint_tensors(restored)
    assert found["optimizer"].keys() == wanted["optimizer"].keys()
    for name, tensor in wanted["optimizer"].items():
        assert torch.equal(found["optimizer"][name], tensor), name


def test_checkpoint_tensors_name_three_moments_for_each_parameter(tmp_path: Path) -> None:
    state, _ = train(tmp_path)
    names = {name for name, _ in state.model.named_parameters()}
    wanted = {f"{kind}/{name}" for name in names for kind in ("exp_avg", "exp_avg_sq", "step")}
    assert checkpoint_tensors(state)["optimizer"].keys() == wanted


def test_frozen_and_changing_tensors_share_the_state_dict_between_them() -> None:
    model = build_objective().model
    model.get_submodule("lm_head").requires_grad_(requires_grad=False)
    frozen, changing = frozen_tensors(model), changing_tensors(model)
    assert frozen.keys() == {"lm_head.weight", "lm_head.bias"}
    assert frozen.keys() | changing.keys() == model.state_dict().keys()
    assert not frozen.keys() & changing.keys()
    assert any(name.endswith("router.bias") for name in changing)


def test_restore_state_refuses_another_model(tmp_path: Path) -> None:
    _, result = train(tmp_path)
    assert result.checkpoint is not None
    dense = build_state(
        build_objective(StandardMethod(), moe=None),
        training=build_settings().training,
        collective=Collective(),
        device=CPU,
    )
    with pytest.raises(CheckpointError, match=r"is of another model: missing .*unknown .'model"):
        restore_state(dense, result.checkpoint)


def test_restore_state_goes_by_name_not_by_order(tmp_path: Path) -> None:
    trained, _ = train(tmp_path)
    groups = checkpoint_tensors(trained)
    turned = {kind: dict(reversed(list(t.items()))) for kind, t in groups.items()}
    path = commit_checkpoint(tmp_path / "b", step=6, attempt=0, tensors=turned, state={}, texts={})
    restored: TrainState = fresh_state(Collective())
    restore_state(restored, path)
    for name, tensor in groups["optimizer"].items():
        assert torch.equal(checkpoint_tensors(restored)["optimizer"][name], tensor), name
