"""The order of rows: a pure function of seed, epoch and sources, whatever the number of workers.

    settings = plan_order(source, seed=..., global_batch_size=..., group_by_length=...)
    rank_positions(settings, rank=..., world=..., ...)

Source: DESIGN 6; `numpy.random.PCG64` seeded with [seed, epoch].
Limits: bit-equal for one version of numpy's `Generator.permutation`, which numpy keeps stable in
practice but does not promise (NEP 19). One epoch's permutation is in memory: 8 bytes a row.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from phiray.data.grouping import group_rows
from phiray.data.mixture import RowRange, rows_of_epoch
from phiray.data.rows import RowSource
from phiray.errors import ConfigError, DataError
from phiray.types import FILLER_ROW


@dataclass(frozen=True)
class OrderSettings:
    """All that the order depends on; fixed for a run."""

    seed: int
    num_rows: int
    """Rows of the data set."""
    global_batch_size: int
    mixture: tuple[RowRange, ...] = ()
    """Its sources with their weights; none takes every row once an epoch."""
    lengths: npt.NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    """(num_rows,) about how many tokens each row has, to group steps by; none does not group."""

    @property
    def rows_per_epoch(self) -> int:
        """Rows that an epoch takes, the same number in each."""
        return sum(part.rows_per_epoch for part in self.mixture) or self.num_rows


def plan_order(
    source: RowSource, *, seed: int, global_batch_size: int, group_by_length: bool
) -> OrderSettings:
    """Settle the order of a data set's rows for a run.

    Args:
        source: the data set.
        seed: of the run.
        global_batch_size: rows of a step.
        group_by_length: put rows of like length into the same steps.
    """
    return OrderSettings(
        seed=seed,
        num_rows=source.num_rows,
        global_batch_size=global_batch_size,
        mixture=source.mixture,
        lengths=source.estimate_lengths() if group_by_length else None,
    )


def epoch_order(settings: OrderSettings, epoch: int) -> npt.NDArray[np.int64]:
    """Give the row ids of an epoch in their order.

    Returns:
        (rows_per_epoch,) int64; without weights each row once.
    """
    generator = np.random.Generator(np.random.PCG64([settings.seed, epoch]))
    order = generator.permutation(settings.rows_per_epoch).astype(np.int64, copy=False)
    if settings.mixture:
        order = rows_of_epoch(settings.mixture, seed=settings.seed, epoch=epoch)[order]
    if settings.lengths is not None:
        order = group_rows(
            order,
            settings.lengths,
            batch_size=settings.global_batch_size,
            generator=generator,
        )
    return order


def steps_per_epoch(settings: OrderSettings) -> int:
    """Count the steps of an epoch; the last one may be short.

    Raises:
        DataError: if there are no rows.
    """
    if settings.num_rows < 1:
        raise DataError(
            f"The data set has {settings.num_rows} rows. Training needs at least 1. "
            "Run `phiray data check` on the stage's config to see what was left out and why."
        )
    return -(-settings.rows_per_epoch // settings.global_batch_size)


def rank_positions(
    settings: OrderSettings,
    *,
    rank: int,
    world: int,
    accumulation: int,
    start_step: int,
    num_steps: int,
) -> npt.NDArray[np.int64]:
    """Give the rows that one worker reads in steps start_step .. start_step + num_steps - 1.

    Row i of a step goes to worker i % world, so that the workers' shares differ by one row at
    most, also in an epoch's short last step; FILLER_ROW fills up.

    Returns:
        (steps, accumulation, micro) int64.

    Raises:
        ConfigError: if `rank`, `world` or `accumulation` make no sense.
        DataError: if there are no rows.
    """
    _check_shares(rank=rank, world=world, accumulation=accumulation)
    num_shares = world * accumulation
    micro = -(-settings.global_batch_size // num_shares)
    epoch_steps = steps_per_epoch(settings)
    steps = np.full((num_steps, micro * num_shares), FILLER_ROW, dtype=np.int64)
    epoch, order = -1, np.empty(0, dtype=np.int64)
    for index in range(num_steps):
        step_epoch, step_in_epoch = divmod(start_step + index, epoch_steps)
        if step_epoch != epoch:
            epoch = step_epoch
            order = epoch_order(settings, epoch)
        first = step_in_epoch * settings.global_batch_size
        rows = order[first : first + settings.global_batch_size]  # (rows,)
        steps[index, : len(rows)] = rows
    shares = steps.reshape(num_steps, micro, accumulation, world)
    return np.ascontiguousarray(shares[..., rank].swapaxes(1, 2))  # (steps, accumulation, micro)


def micro_batches(accumulation: int, *, most_workers: int, world: int) -> int:
    """Return the micro-batches of each worker that keep their size where fewer workers share.

    Args:
        accumulation: of each worker when all of them are there.
        most_workers: as many as there may be.
        world: workers that are there.
    """
    return -(-accumulation * most_workers // world)


def _check_shares(*, rank: int, world: int, accumulation: int) -> None:
    if world < 1 or accumulation < 1 or not 0 <= rank < world:
        raise ConfigError(
            f"Worker {rank} of {world} with {accumulation} micro-batches a step cannot be. "
            "Expected 0 <= rank < cluster.workers and training.gradient_accumulation_steps >= 1. "
            "Correct these settings."
        )
