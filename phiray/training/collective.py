"""Sums and messages among the workers of a run, or a single process.

Source: torch.distributed, whose process group Ray Train (or torch.multiprocessing) has set up.
Limits: objects are gathered by pickle, among the processes of one run only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from torch import Tensor, distributed

from phiray.errors import PhirayError, error_from_payload, payload_from_error

Value = TypeVar("Value")


@dataclass(frozen=True)
class Collective:
    """The workers of a run as one of them sees them."""

    rank: int = 0
    """This worker, from 0."""
    world_size: int = 1
    """Number of workers."""

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add a tensor up over all workers, in place, and return it."""
        if self.world_size > 1:
            distributed.all_reduce(tensor)
        return tensor

    def gather(self, value: Value) -> list[Value]:
        """Give every worker the values of all, in the order of their ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Value | None] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return cast(list[Value], values)  # filled by now; a value may be None

    def broadcast(self, value: Value) -> Value:
        """Give every worker the value of rank 0."""
        if self.world_size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


def current_collective() -> Collective:
    """Return the process group of this process, or a single worker without one."""
    if distributed.is_available() and distributed.is_initialized():
        return Collective(distributed.get_rank(), distributed.get_world_size())
    return Collective()


def sum_numbers(
    collective: Collective, values: list[float], *, device: torch.device
) -> list[float]:
    """Add up a few numbers over all workers, in float64.

    Args:
        collective: the workers.
        values: as many on each worker.
        device: where the backend reduces: the GPU of the worker for NCCL.
    """
    if collective.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device)
    summed: list[float] = collective.sum_(tensor).tolist()
    return summed


def run_on_first(collective: Collective, function: Callable[[], Value]) -> Value:
    """Run a function on rank 0 only; every worker returns its value, or raises its error.

    Without this, an error on one worker would leave the others waiting until a timeout.

    Raises:
        PhirayError: the one that the function raised on rank 0, on all workers.
    """
    if collective.world_size == 1:
        return function()
    value: Value | None = None
    payload: dict[str, object] | None = None
    if collective.rank == 0:
        try:
            value = function()
        except PhirayError as error:
            payload = payload_from_error(error)
    value, payload = collective.broadcast((value, payload))
    if payload is not None:
        raise error_from_payload(payload)
    # The function returned on rank 0, so this is what it returned, None included
    return cast(Value, value)


def raise_together(collective: Collective, error: PhirayError | None) -> None:
    """Raise on every worker: its own error, or else that of the first worker that has one.

    Every worker calls this; use it where a cheap sum has shown that some worker failed.
    """
    payloads = collective.gather({} if error is None else payload_from_error(error))
    if error is not None:
        raise error
    for payload in payloads:
        if payload:
            raise error_from_payload(payload)
