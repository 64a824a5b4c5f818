"""The interval covers what it claims to cover; treating dependent samples as free does not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from phiray.evals.bootstrap import (
    bootstrap_interval,
    draw_counts,
    paired_interval,
    sum_by_cluster,
)
from phiray.evals.metrics import ratio

NUM_CLUSTERS, CLUSTER_SIZE = 60, 5


def _clustered_columns(seed: int) -> tuple[NDArray[np.float64], list[int]]:
    """Samples whose numerator shares a large part within its cluster; true ratio 1."""
    generator = np.random.default_rng([seed, 7])
    shared = generator.normal(0.0, 1.0, NUM_CLUSTERS).repeat(CLUSTER_SIZE)
    own = generator.normal(0.0, 0.3, NUM_CLUSTERS * CLUSTER_SIZE)
    weights = generator.uniform(0.5, 1.5, NUM_CLUSTERS * CLUSTER_SIZE)
    columns = np.stack([weights * (1.0 + shared + own), weights], axis=1)
    return columns, np.arange(NUM_CLUSTERS).repeat(CLUSTER_SIZE).tolist()


def _coverage(num_trials: int, *, by_cluster: bool) -> float:
    hits = 0
    for trial in range(num_trials):
        columns, clusters = _clustered_columns(trial)
        sums = sum_by_cluster(columns, clusters) if by_cluster else columns
        low, high = bootstrap_interval(sums, combine=ratio, seed=trial)
        hits += low <= 1.0 <= high
    return hits / num_trials


@pytest.mark.slow
def test_bootstrap_interval_covers_the_truth_in_95_of_100_cases() -> None:
    assert 0.92 <= _coverage(500, by_cluster=True) <= 0.97


@pytest.mark.slow
def test_bootstrap_that_forgets_clusters_misses_the_truth_far_too_often() -> None:
    assert _coverage(100, by_cluster=False) < 0.75


def test_bootstrap_interval_has_the_width_of_the_analytic_one() -> None:
    values = np.random.default_rng(0).normal(0.0, 1.0, 400)
    low, high = bootstrap_interval(np.stack([values, np.ones(400)], axis=1), combine=ratio, seed=1)
    analytic = 2 * 1.96 * values.std(ddof=1) / 20
    assert high - low == pytest.approx(analytic, rel=0.1)


def test_paired_interval_is_narrower_than_the_difference_of_two_free_ones() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(0.0, 1.0, 200)
    ones = np.ones(200)
    first = np.stack([difficulty + 0.1 + generator.normal(0, 0.05, 200), ones], axis=1)
    second = np.stack([difficulty, ones], axis=1)
    low, high = paired_interval(first, second, combine=ratio, seed=3)
    assert 0.05 < low < 0.1 < high < 0.15


def test_paired_interval_of_a_thing_with_itself_is_zero() -> None:
    sums = np.random.default_rng(0).uniform(1.0, 2.0, (30, 2))
    assert paired_interval(sums, sums, combine=ratio, seed=0) == (0.0, 0.0)


def test_bootstrap_interval_is_the_same_for_the_same_seed() -> None:
    sums = np.random.default_rng(0).uniform(1.0, 2.0, (50, 2))
    first = bootstrap_interval(sums, combine=ratio, seed=5)
    assert first == bootstrap_interval(sums, combine=ratio, seed=5)
    assert first != bootstrap_interval(sums, combine=ratio, seed=6)


def test_draw_counts_takes_as_many_clusters_as_there_are() -> None:
    counts = draw_counts(7, seed=0, num_draws=300)
    assert counts.shape == (300, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean() == pytest.approx(1.0)
    assert counts.std() > 0.5


def test_sum_by_cluster_adds_up_in_order_of_first_appearance() -> None:
    columns = np.array([[1.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    assert sum_by_cluster(columns, ["b", "a", "b"]).tolist() == [[5.0, 2.0], [2.0, 1.0]]
