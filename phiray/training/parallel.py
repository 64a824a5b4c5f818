"""The objective on several workers: DDP, put on and taken off.

Source: torch DistributedDataParallel; its `no_sync` saves the exchange on all but the last
micro-batch.
Limits: every worker holds the whole model.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from phiray.training.collective import Collective
from phiray.training.objective import Objective


def wrap_objective(
    objective: Objective, *, collective: Collective, device: torch.device
) -> nn.Module:
    """Move the objective to its device and, with several workers, wrap it in DDP."""
    objective.to(device)
    if collective.world_size == 1:
        return objective
    # Buffers and frozen weights are equal on all workers from the start, since each built or read
    # them itself; DDP would send them at the start, and the buffers with every forward.
    unsent = [name for name, _ in objective.named_buffers()]
    unsent += [name for name, p in objective.named_parameters() if not p.requires_grad]
    # torch's own method is untyped, and the only way to name them
    ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(objective, unsent)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(objective, gradient_as_bucket_view=True)


def unwrap_objective(module: nn.Module) -> Objective:
    """Return the objective inside DDP, or the module itself."""
    inner = module.module if isinstance(module, DistributedDataParallel) else module
    assert isinstance(inner, Objective)
    return inner


def gradient_sync(module: nn.Module, *, is_wanted: bool) -> AbstractContextManager[None]:
    """Let the backward inside add gradients up over workers, or keep them to this one."""
    if isinstance(module, DistributedDataParallel) and not is_wanted:
        sync: AbstractContextManager[None] = module.no_sync()
        return sync
    return nullcontext()
