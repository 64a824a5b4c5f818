"""Steps of many workers, worked out by hand."""

from dataclasses import replace

import pytest

from phiray.planning.scaling import (
    BUCKET_BYTES,
    Compute,
    Job,
    Links,
    Machine,
    Storage,
    best_interval,
    checkpoint_seconds,
    exchange_seconds,
    foretell_step,
    lost_fraction,
)

JOB = Job(
    global_batch_size=32,
    most_rows=8,
    flops_per_row=3.0,
    backward_fraction=0.5,
    trained_weights=1000,
    checkpoint_bytes=600.0,
)
LINKS = Links(bytes_per_second=1000.0, hop_seconds=0.0, overlaps=False)
MACHINE = Machine(
    compute=Compute(flops_per_second=6.0, update_seconds=0.5),
    links=LINKS,
    storage=Storage(fixed_seconds=1.0, bytes_per_second=100.0, report_seconds=0.25),
)


def test_step_of_one_worker_computes_and_exchanges_nothing() -> None:
    step = foretell_step(JOB, MACHINE, workers=1)
    assert (step.compute, step.update) == (32 * 3 / 6, 0.5)
    assert step.total == 16.5


def test_step_shares_rows_out_and_adds_gradients_up() -> None:
    step = foretell_step(JOB, MACHINE, workers=4)
    assert step.compute == 4.0
    assert step.exchange == pytest.approx(2 * 3 / 4 * 4000 / 1000)


def test_step_computes_fillers_where_rows_do_not_divide() -> None:
    assert (JOB.micro_batches(3), JOB.rows_per_micro_batch(3)) == (2, 6)  # 36 places for 32 rows
    assert foretell_step(JOB, MACHINE, workers=3).compute == 12 * 3 / 6


def test_step_hides_the_exchange_behind_the_last_micro_batch_alone() -> None:
    links = replace(LINKS, overlaps=True)
    job = replace(JOB, trained_weights=BUCKET_BYTES)  # four buckets
    fast = replace(MACHINE, links=replace(links, bytes_per_second=4.0 * BUCKET_BYTES))
    # two micro-batches of 8 rows; a backward takes half of 4 s, the exchange 1 s: but one bucket
    assert foretell_step(job, fast, workers=2).exchange == pytest.approx(0.25)
    slow = replace(MACHINE, links=replace(links, bytes_per_second=BUCKET_BYTES))
    assert foretell_step(job, slow, workers=2).exchange == pytest.approx(4 - 2)


def test_step_takes_no_less_than_reading_the_weights() -> None:
    compute = replace(MACHINE.compute, least_seconds=5.0)
    assert foretell_step(JOB, replace(MACHINE, compute=compute), workers=1).compute == 4 * 5


def test_step_waits_for_rows_that_come_too_slowly() -> None:
    compute = replace(MACHINE.compute, rows_per_second=1.0)
    step = foretell_step(JOB, replace(MACHINE, compute=compute), workers=1)
    assert step.rows == 32 - 16.5
    assert step.total == 32


def test_step_loses_the_core_time_of_its_readers() -> None:
    compute = replace(MACHINE.compute, row_seconds=0.25)
    assert foretell_step(JOB, replace(MACHINE, compute=compute), workers=2).compute == 8 + 4


@pytest.mark.parametrize(("workers", "deviations"), [(2, 0.564), (8, 1.424), (100, 2.508)])
def test_step_waits_for_the_slowest(workers: int, deviations: float) -> None:
    """Against tables of normal order statistics (Harter, 1961)."""
    job = replace(JOB, global_batch_size=100, most_rows=100)
    compute = replace(MACHINE.compute, variation=0.1)
    step = foretell_step(job, replace(MACHINE, compute=compute), workers=workers)
    assert step.slowest == pytest.approx(deviations * 0.1 * (step.compute + step.update), rel=0.05)


def test_exchange_pays_hops_for_each_bucket() -> None:
    links = replace(LINKS, bytes_per_second=1e30, hop_seconds=1.0)
    assert exchange_seconds(3.0 * BUCKET_BYTES, links, workers=8) == pytest.approx(3 * 2 * 3)


def test_small_sums_cross_the_tree_three_times() -> None:
    machine = replace(MACHINE, links=replace(LINKS, hop_seconds=0.01))
    assert foretell_step(JOB, machine, workers=8).sums == pytest.approx(3 * 6 * 0.01)


def test_checkpoint_is_written_by_one() -> None:
    assert checkpoint_seconds(JOB, MACHINE.storage) == 1.0 + 6.0 + 0.25


def test_best_interval_is_where_the_cost_is_least() -> None:
    best = best_interval(8.0, 3600.0)
    assert best == 240.0
    cost = [
        lost_fraction(best * factor, checkpoint=8.0, restart=30.0, between_losses=3600.0)
        for factor in (0.8, 1.0, 1.25)
    ]
    assert cost[1] == min(cost)


def test_lost_fraction_is_of_all_time() -> None:
    # each 100 s of training: 20 s of writing; a loss each 400 s costs 50 s of steps and 50 s
    lost = lost_fraction(100.0, checkpoint=20.0, restart=50.0, between_losses=400.0)
    assert lost == pytest.approx((0.2 + 0.25) / 1.45)
