"""The order of rows: every row as often as planned, whatever the number of workers."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.image_sets import conversation_rows
from phiray.data.mixture import RowRange
from phiray.data.order import (
    OrderSettings,
    epoch_order,
    micro_batches,
    plan_order,
    rank_positions,
    steps_per_epoch,
)
from phiray.data.rows import RowSource
from phiray.errors import ConfigError, DataError
from phiray.types import FILLER_ROW
from tests.image_builders import NUM_PATCHES, with_text_rows, write_image_world

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
    return [int(row) for row in epoch_order(SETTINGS, epoch)[8 * index : 8 * index + 8]]


def test_epoch_order_is_a_permutation_of_its_own_for_each_epoch_and_seed() -> None:
    other = OrderSettings(seed=4, num_rows=26, global_batch_size=8)
    orders = [epoch_order(*which) for which in [(SETTINGS, 0), (SETTINGS, 1), (other, 0)]]
    for order in orders:
        assert sorted(order.tolist()) == list(range(26))
    assert len({tuple(order.tolist()) for order in orders}) == 3
    np.testing.assert_array_equal(orders[0], epoch_order(SETTINGS, 0))


def test_sources_of_weight_1_leave_the_order_as_it_is_without_them() -> None:
    two = (RowRange("a", 0, 20), RowRange("b", 20, 6))
    mixed = OrderSettings(seed=3, num_rows=26, global_batch_size=8, mixture=two)
    for epoch in range(3):
        expected = np.random.Generator(np.random.PCG64([3, epoch])).permutation(26)
        np.testing.assert_array_equal(epoch_order(SETTINGS, epoch), expected)
        np.testing.assert_array_equal(epoch_order(mixed, epoch), expected)


def test_plan_order_takes_sources_and_lengths_from_the_rows(tmp_path: Path) -> None:
    config = with_text_rows(write_image_world(tmp_path), 9)
    config = config.model_copy(update={"weights": {"texts": 2.0}})
    rows: RowSource = conversation_rows(config, num_patches=NUM_PATCHES, seed=0)
    plain, grouped = (
        plan_order(rows, seed=1, global_batch_size=4, group_by_length=grouped)
        for grouped in (False, True)
    )
    assert plain == grouped
    assert [part.name for part in plain.mixture] == ["llava_instruct_150k", "texts"]
    assert plain.rows_per_epoch == plain.num_rows + plain.mixture[1].num_rows
    assert plain.lengths is None
    assert grouped.lengths is not None
    assert grouped.lengths.tolist() == rows.estimate_lengths().tolist()


def test_grouped_steps_hold_rows_of_like_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 400)
    orders = [
        epoch_order(OrderSettings(3, 400, 8, lengths=given_lengths), 0).reshape(50, 8)
        for given_lengths in (None, lengths)
    ]
    spread, grouped_spread = (float(np.ptp(lengths[order], axis=1).mean()) for order in orders)
    assert grouped_spread < spread / 4
    assert lengths[orders[1][0]].max() == lengths.max()


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


@st.composite
def planned_runs(draw: st.DrawFn) -> OrderSettings:
    """Draw a run: seed, sources with weights, batch size, grouped by length or not."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    weights = st.one_of(st.just(1.0), st.floats(0.05, 3.0))
    starts = np.cumsum([0, *sizes]).tolist()
    mixture = tuple(
        RowRange(f"source {index}", starts[index], size, draw(weights))
        for index, size in enumerate(sizes)
    )
    num_rows = starts[-1]
    lengths = None
    if draw(st.booleans()):
        drawn = draw(st.lists(st.integers(0, 99), min_size=num_rows, max_size=num_rows))
        lengths = np.array(drawn, dtype=np.int64)
    return OrderSettings(
        seed=draw(st.integers(0, 2**63 - 1)),
        num_rows=num_rows,
        global_batch_size=draw(st.integers(1, 9)),
        mixture=draw(st.sampled_from([(), mixture])),
        lengths=lengths,
    )


@settings(deadline=None)
@given(
    run=planned_runs(),
    world=st.integers(1, 5),
    accumulation=st.integers(1, 3),
    other_world=st.integers(1, 5),
)
def test_a_run_restored_at_any_step_reads_what_is_left_of_the_plan(
    run: OrderSettings, world: int, accumulation: int, other_world: int
) -> None:
    num_steps = min(2 * steps_per_epoch(run) + 1, 25)

    def read(start: int, world: int) -> list[npt.NDArray[np.int64]]:
        return [
            rank_positions(
                run,
                rank=rank,
                world=world,
                accumulation=accumulation,
                start_step=start,
                num_steps=num_steps - start,
            )
            for rank in range(world)
        ]

    whole = read(0, world)
    planned = [_real_rows(whole, step) for step in range(num_steps)]
    first = 0
    while first + steps_per_epoch(run) <= num_steps:  # each epoch that is read whole
        rows = np.concatenate(planned[first : first + steps_per_epoch(run)])
        wanted = epoch_order(run, first // steps_per_epoch(run))
        np.testing.assert_array_equal(np.sort(rows), np.sort(wanted))
        first += steps_per_epoch(run)
    for start in range(num_steps + 1):
        for undisturbed, restored in zip(whole, read(start, world), strict=True):
            np.testing.assert_array_equal(undisturbed[start:], restored)
        elastic = read(start, other_world)
        for step in range(start, num_steps):
            np.testing.assert_array_equal(_real_rows(elastic, step - start), planned[step])


def _real_rows(ranks: list[npt.NDArray[np.int64]], step: int) -> npt.NDArray[np.int64]:
    """Gather a step's rows over all ranks, sorted, fillers apart."""
    rows = np.concatenate([rank[step].ravel() for rank in ranks])
    return np.sort(rows[rows != FILLER_ROW])


@settings(deadline=None)
@given(run=planned_runs(), num_epochs=st.integers(1, 8))
def test_an_epoch_takes_each_row_as_often_as_its_source_weighs(
    run: OrderSettings, num_epochs: int
) -> None:
    counts = [Counter(epoch_order(run, epoch).tolist()) for epoch in range(num_epochs)]
    assert {count.total() for count in counts} == {run.rows_per_epoch}
    ranges = run.mixture or (RowRange("all", 0, run.num_rows),)
    for part in ranges:
        rows = range(part.first_row, part.first_row + part.num_rows)
        for count in counts:
            assert sum(count[row] for row in rows) == part.rows_per_epoch
            assert {count[row] for row in rows} <= {part.num_turns, part.num_turns + 1}
        over_all = [sum(count[row] for count in counts) for row in rows]
        assert max(over_all) - min(over_all) <= 1


@pytest.mark.parametrize(
    ("accumulation", "most", "world", "expected"),
    [(1, 4, 4, 1), (1, 4, 2, 2), (1, 4, 1, 4), (2, 4, 3, 3), (3, 1, 1, 3)],
)
def test_micro_batches_keep_their_size_where_workers_are_missing(
    accumulation: int, most: int, world: int, expected: int
) -> None:
    assert micro_batches(accumulation, most_workers=most, world=world) == expected
