"""The order of rows: every row once an epoch, whatever the number of workers."""

import numpy as np
import numpy.typing as npt
import pytest

from phiray.data.order import (
    OrderSettings,
    epoch_order,
    micro_batches,
    rank_positions,
    steps_per_epoch,
)
from phiray.errors import ConfigError, DataError
from phiray.types import FILLER_ROW

SETTINGS = OrderSettings(seed=3, num_rows=26, global_batch_size=8)  # steps of 8, 8, 8 and 2 rows
NUM_STEPS = 9


def _positions(
    *, world: int, accumulation: int, start_step: int = 0, num_steps: int = NUM_STEPS
) -> list[npt.NDArray[np.int64]]:
    return [
        rank_positions(
            SETTINGS,
            rank=rank,
            world=world,
            accumulation=accumulation,
            start_step=start_step,
            num_steps=num_steps,
        )
        for rank in range(world)
    ]


def _rows_of_step(step: int) -> list[int]:
    """Cut the planned rows of a step out of its epoch's order, of four steps each."""
    epoch, index = divmod(step, 4)
    return [int(row) for row in epoch_order(3, epoch, num_rows=26)[8 * index : 8 * index + 8]]


def test_epoch_order_is_a_permutation_of_its_own_for_each_epoch_and_seed() -> None:
    orders = [epoch_order(seed, epoch, num_rows=26) for seed, epoch in [(3, 0), (3, 1), (4, 0)]]
    for order in orders:
        assert sorted(order.tolist()) == list(range(26))
    assert len({tuple(order.tolist()) for order in orders}) == 3
    np.testing.assert_array_equal(orders[0], epoch_order(3, 0, num_rows=26))


def test_steps_per_epoch_counts_the_short_step() -> None:
    assert steps_per_epoch(SETTINGS) == 4
    assert steps_per_epoch(OrderSettings(seed=0, num_rows=24, global_batch_size=8)) == 3
    assert steps_per_epoch(OrderSettings(seed=0, num_rows=1, global_batch_size=8)) == 1


@pytest.mark.parametrize(
    ("world", "accumulation"), [(1, 1), (1, 4), (4, 1), (2, 2), (3, 1), (5, 2), (16, 1)]
)
def test_ranks_together_read_each_row_of_a_step_once(world: int, accumulation: int) -> None:
    ranks = _positions(world=world, accumulation=accumulation)
    for step in range(NUM_STEPS):
        rows = np.concatenate([rank[step].ravel() for rank in ranks])
        real = rows[rows != FILLER_ROW]
        assert sorted(real.tolist()) == sorted(_rows_of_step(step))


@pytest.mark.parametrize(("world", "accumulation"), [(2, 2), (3, 1), (4, 1)])
def test_no_micro_batch_is_empty_while_the_step_has_rows_for_all(
    world: int, accumulation: int
) -> None:
    for rank in _positions(world=world, accumulation=accumulation, num_steps=3):
        assert ((rank != FILLER_ROW).sum(axis=-1) >= 8 // (world * accumulation)).all()


def test_one_worker_reads_a_step_in_the_epochs_order() -> None:
    (rows,) = _positions(world=1, accumulation=1)
    assert rows[5, 0].tolist() == _rows_of_step(5)
    assert rows[7, 0].tolist() == _rows_of_step(7) + [FILLER_ROW] * 6  # the epoch's short step
    assert rows.shape == (NUM_STEPS, 1, 8)


def test_resume_reads_what_the_undisturbed_run_would_have_read() -> None:
    whole = _positions(world=2, accumulation=2)
    rest = _positions(world=2, accumulation=2, start_step=6, num_steps=NUM_STEPS - 6)
    for all_steps, last_steps in zip(whole, rest, strict=True):
        np.testing.assert_array_equal(all_steps[6:], last_steps)


def test_empty_data_set_is_refused() -> None:
    empty = OrderSettings(seed=0, num_rows=0, global_batch_size=8)
    with pytest.raises(DataError, match="has 0 rows"):
        steps_per_epoch(empty)


def test_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="Worker 2 of 2"):
        rank_positions(SETTINGS, rank=2, world=2, accumulation=1, start_step=0, num_steps=1)


@pytest.mark.parametrize(
    ("accumulation", "most", "world", "expected"),
    [(1, 4, 4, 1), (1, 4, 2, 2), (1, 4, 1, 4), (2, 4, 3, 3), (3, 1, 1, 3)],
)
def test_micro_batches_keep_their_size_where_workers_are_missing(
    accumulation: int, most: int, world: int, expected: int
) -> None:
    assert micro_batches(accumulation, most_workers=most, world=world) == expected
