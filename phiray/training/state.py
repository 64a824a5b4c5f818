"""What a run must keep to go on as if it had never stopped: weights, moments, position.

    build_state(objective, *, training, collective, device) -> TrainState(module, optimizer, step)
    restore_state(state, path) -> None
    checkpoint_tensors(state) / frozen_tensors(objective)

Random numbers need no state: coins are keyed by (seed, step, row, position), and torch's generators
are seeded anew from (seed, step, rank) at each step.

Source: names of parameters, not their order, are the keys, so that a checkpoint can be read
without the code that wrote it.
Limits: every worker holds all of it (DDP), and rank 0 writes it.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from phiray.checkpoints.read import Checkpoint, read_checkpoint
from phiray.config.training import TrainingConfig
from phiray.errors import CheckpointError
from phiray.training.collective import Collective
from phiray.training.objective import Objective
from phiray.training.optimizer import build_optimizer
from phiray.training.parallel import unwrap_objective, wrap_objective


@dataclass
class TrainState:
    """What training changes."""

    module: nn.Module
    """The objective, in DDP if there are several workers."""
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Optimizer steps done."""

    @property
    def model(self) -> nn.Module:
        """The model that is trained."""
        return unwrap_objective(self.module).model


def build_state(
    objective: Objective,
    *,
    training: TrainingConfig,
    collective: Collective,
    device: torch.device,
) -> TrainState:
    """Move an objective to its device, give it an optimizer, and start at step 0."""
    module = wrap_objective(objective, collective=collective, device=device)
    return TrainState(module=module, optimizer=build_optimizer(objective, training=training))


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that training never changes."""
    return {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}


def changing_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights that training changes, and all buffers that are saved."""
    frozen = frozen_tensors(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in frozen}


def checkpoint_tensors(state: TrainState) -> dict[str, dict[str, Tensor]]:
    """Return all tensors of a checkpoint, by file; moments are named `exp_avg/PARAMETER`."""
    moments: dict[str, Tensor] = {}
    for name, parameter in state.model.named_parameters():
        for key, value in state.optimizer.state.get(parameter, {}).items():
            moments[f"{key}/{name}"] = value
    return {"model": changing_tensors(state.model), "optimizer": moments}


def restore_state(state: TrainState, path: Path) -> None:
    """Take weights, moments and step from a checkpoint of the same run.

    Raises:
        CheckpointError: if it is broken, or of another model.
    """
    checkpoint = read_checkpoint(path)
    _restore_weights(state.model, checkpoint)
    _restore_moments(state, checkpoint)
    state.step = checkpoint.step


def _restore_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    tensors = checkpoint.read_trainable()
    expected = changing_tensors(model)
    missing = sorted(expected.keys() - tensors.keys())
    unknown = sorted(tensors.keys() - expected.keys())
    shapes = [n for n in expected.keys() & tensors.keys() if expected[n].shape != tensors[n].shape]
    if missing or unknown or shapes:
        raise CheckpointError(
            f"The checkpoint {checkpoint.path} is of another model: missing {missing[:3]}, unknown "
            f"{unknown[:3]}, of another shape {sorted(shapes)[:3]}. Expected the settings that it "
            "was written with. Use them, or start a run with another name."
        )
    model.load_state_dict(tensors, strict=False)


def _restore_moments(state: TrainState, checkpoint: Checkpoint) -> None:
    moments = checkpoint.read_optimizer()
    names = {id(parameter): name for name, parameter in state.model.named_parameters()}
    order = [names[id(p)] for group in state.optimizer.param_groups for p in group["params"]]
    by_index: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(order))}
    index_of = {name: index for index, name in enumerate(order)}
    for key, value in moments.items():
        kind, name = key.split("/", maxsplit=1)
        by_index[index_of[name]][kind] = value
    # torch's own method casts each moment to the device where the (fused) kernel wants it
    groups = state.optimizer.state_dict()["param_groups"]
    filled = {index: values for index, values in by_index.items() if values}
    state.optimizer.load_state_dict({"state": filled, "param_groups": groups})
