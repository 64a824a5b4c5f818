"""Sums over sums: sizes weigh, clusters are drawn, arms stay apart."""

import math

import pytest

from phiray.evals.aggregate import aggregate_samples, table_from_samples
from phiray.evals.metrics import METRICS
from phiray.evals.results import Sample


def _sample(arm: str, number: int, nats: float, num_bytes: float) -> Sample:
    return Sample(arm, str(number), str(number // 2), {"bits_per_byte": [nats, num_bytes]})


def test_aggregate_samples_divides_sums_not_means() -> None:
    samples = [_sample("run", 0, 10.0, 1.0), _sample("run", 1, 10.0, 99.0)]
    metric = aggregate_samples(samples, seed=0)["run"]["bits_per_byte"]
    assert metric.value == pytest.approx(20.0 / 100.0 / math.log(2), rel=1e-15)
    assert metric.n == 2
    assert metric.ci95 == (metric.value, metric.value)  # one cluster


def test_aggregate_samples_keeps_arms_in_order_and_apart() -> None:
    samples = [_sample("run", k, 1.0 + k, 2.0) for k in range(8)]
    samples += [_sample("blank", k, 2.0 + k, 2.0) for k in range(8)]
    arms = aggregate_samples(samples, seed=0)
    assert list(arms) == ["run", "blank"]
    assert arms["run"]["bits_per_byte"].value < arms["blank"]["bits_per_byte"].value
    low, high = arms["run"]["bits_per_byte"].ci95
    assert low < arms["run"]["bits_per_byte"].value < high


def test_table_from_samples_passes_over_samples_without_the_metric() -> None:
    samples = [_sample("run", 0, 1.0, 2.0), Sample("run", "x", "0", {"rouge_l": [0.5, 1.0]})]
    table = table_from_samples(samples, METRICS["rouge_l"])
    assert table.clusters == ["0"]
    assert table.columns.tolist() == [[0.5, 1.0]]
