"""From samples to metrics with intervals, one code path for models and blind rows alike.

Limits: every metric is a function of sums over samples (see `metrics.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phiray.evals.bootstrap import Floats, bootstrap_interval, sum_by_cluster
from phiray.evals.metrics import METRICS, MetricKind
from phiray.evals.results import Arms, Metric, Sample


@dataclass(frozen=True)
class ColumnTable:
    """What the samples of one arm contribute to one metric."""

    columns: Floats
    """(samples, columns) float64."""
    clusters: list[str]
    """Of each sample."""


def table_from_samples(samples: Sequence[Sample], kind: MetricKind) -> ColumnTable:
    """Gather a metric's columns from those samples that have it."""
    chosen = [sample for sample in samples if kind.name in sample.columns]
    rows = [sample.columns[kind.name] for sample in chosen]
    return ColumnTable(
        np.array(rows, dtype=np.float64).reshape(len(rows), kind.num_columns),
        [sample.cluster for sample in chosen],
    )


def aggregate_samples(samples: Sequence[Sample], *, seed: int) -> Arms:
    """Compute every metric of every arm, with a bootstrap over clusters.

    Args:
        samples: of any arms; arms come out in order of first appearance.
        seed: of the bootstrap's draws.
    """
    by_arm: dict[str, list[Sample]] = {}
    for sample in samples:
        by_arm.setdefault(sample.arm, []).append(sample)
    return {arm: _metrics_from_samples(chosen, seed) for arm, chosen in by_arm.items()}


def _metrics_from_samples(samples: Sequence[Sample], seed: int) -> dict[str, Metric]:
    metrics = {}
    for kind in METRICS.values():
        table = table_from_samples(samples, kind)
        if table.clusters:
            metrics[kind.name] = _metric_from_table(table, kind, seed)
    return metrics


def _metric_from_table(table: ColumnTable, kind: MetricKind, seed: int) -> Metric:
    sums = sum_by_cluster(table.columns, table.clusters)
    return Metric(
        value=float(kind.combine(sums.sum(axis=0))),
        ci95=bootstrap_interval(sums, combine=kind.combine, seed=seed),
        n=len(table.clusters),
        unit=kind.unit,
        higher_is_better=kind.higher_is_better,
    )
