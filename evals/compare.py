"""Lay evaluated runs side by side: all arms, and paired differences between runs.

Source: paired bootstrap over clusters, as in Miller 2024 (arXiv 2411.00640).
Limits: differences are taken on the samples that both runs have; where these were not scored alike,
a note says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.aggregate import table_from_samples
from phiray.evals.bootstrap import MIN_CLUSTERS, paired_interval, sum_by_cluster
from phiray.evals.collect import EvaluatedRun, collect_runs
from phiray.evals.comparable import cluster_notes, comparison_notes, training_notes
from phiray.evals.metrics import METRICS, MetricKind
from phiray.evals.results import Arms, Metric, Sample, arms_to_json, metric_to_json

SEED = 0
"""Of the draws of every paired interval."""


@dataclass(frozen=True)
class Difference:
    """One metric of one arm minus that of another."""

    metric: Metric
    num_clusters: int
    """Images or documents that its interval is drawn from."""


@dataclass(frozen=True)
class Comparison:
    """One arm minus another, metric by metric."""

    suite: str
    first: str
    second: str
    label_tokens: dict[str, int]
    """Tokens that each run learnt from, by its arm."""
    differences: dict[str, Difference]
    """`first` minus `second`, on the samples that both have."""
    notes: list[str]
    """What keeps the two from comparing as they stand."""

    @property
    def name(self) -> str:
        """What the comparison is called."""
        return f"{self.first} vs {self.second}"

    def better(self, metric: str) -> str | None:
        """Return the arm that is better beyond its interval; None if that is open.

        It is open below MIN_CLUSTERS, where the interval is too narrow to be believed.
        """
        difference = self.differences[metric]
        low, high = difference.metric.ci95
        if low <= 0.0 <= high or difference.num_clusters < MIN_CLUSTERS:
            return None
        return self.first if (low > 0) == difference.metric.higher_is_better else self.second


@dataclass(frozen=True)
class RunComparison:
    """Everything that several runs say, laid together."""

    evals: dict[str, Arms]
    """Arms by suite."""
    comparisons: list[Comparison]

    def to_json(self) -> dict[str, object]:
        """Turn into plain JSON, in the form of `report.json`."""
        return {
            "evals": {suite: arms_to_json(arms) for suite, arms in self.evals.items()},
            "comparisons": comparisons_to_json(self.comparisons),
        }

    def to_text(self) -> str:
        """Write as plain text, a table for each suite and a block for each comparison."""
        blocks = [_suite_text(suite, arms) for suite, arms in self.evals.items()]
        blocks += [_comparison_text(comparison) for comparison in self.comparisons]
        return "\n\n".join(blocks)


def compare_runs(folders: Sequence[Path]) -> RunComparison:
    """Read the results of evaluated runs and compare each with each.

    Raises:
        ConfigError: if there is nothing to compare with (2).
        DataError: if a run was not evaluated (66), or two runs have one name.
    """
    if len(folders) < 2:
        raise ConfigError(
            f"{len(folders)} run is named. Expected at least two to compare. Name another one, or "
            "use `phiray report`.",
            exit_code=ExitCode.USAGE,
        )
    runs = collect_runs(folders)
    missing = [str(run.folder) for run in runs if not run.suites]
    if missing:
        raise DataError(
            f"{', '.join(missing)} was not evaluated. Expected evals/SUITE/result.json in each run "
            "that is compared. Run `phiray eval` on it first.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return RunComparison(merge_arms(runs), compare_all(runs))


def merge_arms(runs: Sequence[EvaluatedRun]) -> dict[str, Arms]:
    """Put the arms of all runs together, suite by suite.

    A blind row keeps its bare name for the first run that has it. An equal row of another run
    is the same row; one that differs gets the run's name behind it.
    """
    merged: dict[str, Arms] = {}
    for run in runs:
        for suite, result in run.suites.items():
            arms = merged.setdefault(suite, {})
            for name, metrics in result.arms.items():
                if name not in arms:
                    arms[name] = metrics
                elif arms[name] != metrics:
                    arms[f"{name}@{run.name}"] = metrics
    return {
        suite: _own_first(arms, runs) for suite, arms in sorted(merged.items(), key=_suite_rank)
    }


def compare_all(runs: Sequence[EvaluatedRun]) -> list[Comparison]:
    """Compare each two runs that were scored by one suite, on each data set apart."""
    found = []
    for suite in sorted({suite for run in runs for suite in run.suites}, key=_suite_place):
        scored = [run for run in runs if suite in run.suites]
        for first, second in combinations(scored, 2):
            for own, other in _matching_arms(first, second, suite):
                differences = compare_samples(
                    [s for s in first.samples[suite] if s.arm == own],
                    [s for s in second.samples[suite] if s.arm == other],
                )
                tokens = {own: first.label_tokens, other: second.label_tokens}
                notes = training_notes(first, second)
                notes += comparison_notes(
                    first.suites[suite].data,
                    second.suites[suite].data,
                    data_set=own.removeprefix(first.name).removeprefix("@") or None,
                )
                notes += [*first.step_notes(suite), *second.step_notes(suite)]
                notes += cluster_notes([d.num_clusters for d in differences.values()])
                found.append(Comparison(suite, own, other, tokens, differences, notes))
    return found


def compare_samples(first: Sequence[Sample], second: Sequence[Sample]) -> dict[str, Difference]:
    """Return each metric's paired difference, first minus second."""
    differences = {}
    for kind in METRICS.values():
        difference = _difference(first, second, kind)
        if difference is not None:
            differences[kind.name] = difference
    return differences


def comparisons_to_json(comparisons: Sequence[Comparison]) -> dict[str, object]:
    """Turn comparisons into plain JSON: by suite and name."""
    payload: dict[str, dict[str, object]] = {}
    for comparison in comparisons:
        payload.setdefault(comparison.suite, {})[comparison.name] = {
            "first": comparison.first,
            "second": comparison.second,
            "label_tokens": comparison.label_tokens,
            "notes": comparison.notes,
            "first_minus_second": {
                name: {
                    **metric_to_json(difference.metric),
                    "clusters": difference.num_clusters,
                    "better": comparison.better(name),
                }
                for name, difference in comparison.differences.items()
            },
        }
    return dict(payload)


def _difference(
    first: Sequence[Sample], second: Sequence[Sample], kind: MetricKind
) -> Difference | None:
    shared = {s.sample_id for s in first if kind.name in s.columns} & {
        s.sample_id for s in second if kind.name in s.columns
    }
    if not shared:
        return None
    tables = [
        table_from_samples(sorted_samples(samples, shared), kind) for samples in (first, second)
    ]
    sums = [sum_by_cluster(table.columns, table.clusters) for table in tables]
    values = [float(kind.combine(side.sum(axis=0))) for side in sums]
    metric = Metric(
        value=values[0] - values[1],
        ci95=paired_interval(sums[0], sums[1], combine=kind.combine, seed=SEED),
        n=len(shared),
        unit=kind.unit,
        higher_is_better=kind.higher_is_better,
    )
    return Difference(metric, num_clusters=len(sums[0]))


def sorted_samples(samples: Sequence[Sample], shared: set[str]) -> list[Sample]:
    """Return the shared samples in one order, so that clusters of two arms stand side by side."""
    chosen = [sample for sample in samples if sample.sample_id in shared]
    return sorted(chosen, key=lambda sample: (sample.cluster, sample.sample_id))


def _matching_arms(first: EvaluatedRun, second: EvaluatedRun, suite: str) -> list[tuple[str, str]]:
    """Pair the runs' own arms: those of one data set, `RUN@SET`, belong together."""
    others = {name.removeprefix(second.name): name for name in second.own_arms(suite)}
    return [
        (name, others[suffix])
        for name in first.own_arms(suite)
        if (suffix := name.removeprefix(first.name)) in others
    ]


def _own_first(arms: Arms, runs: Sequence[EvaluatedRun]) -> Arms:
    own = {name for run in runs for suite in run.suites for name in run.own_arms(suite)}
    order = sorted(arms, key=lambda name: name not in own)  # stable: else as they came
    return {name: arms[name] for name in order}


def _suite_rank(item: tuple[str, Arms]) -> int:
    return _suite_place(item[0])


def _suite_place(suite: str) -> int:
    order = ("lm", "caption", "instruct")
    return order.index(suite) if suite in order else len(order)


def _suite_text(suite: str, arms: Arms) -> str:
    lines = [suite]
    width = max(len(arm) for arm in arms)
    for arm, metrics in arms.items():
        for name, metric in metrics.items():
            low, high = metric.ci95
            lines.append(
                f"  {arm:<{width}}  {name:<26} {metric.value:>10.4g}  "
                f"[{low:.4g}, {high:.4g}]  n={metric.n}  {metric.unit}"
            )
    return "\n".join(lines)


def _comparison_text(comparison: Comparison) -> str:
    tokens = ", ".join(f"{arm}: {count:,}" for arm, count in comparison.label_tokens.items())
    lines = [
        f"{comparison.suite}: {comparison.first} minus {comparison.second} (label tokens {tokens})"
    ]
    lines += [f"  note: {note}" for note in comparison.notes]
    for name, difference in comparison.differences.items():
        metric = difference.metric
        low, high = metric.ci95
        better = comparison.better(name)
        verdict = f"{better} is better" if better else "open"
        lines.append(
            f"  {name:<26} {metric.value:>+10.4g}  [{low:+.4g}, {high:+.4g}]  n={metric.n}  "
            f"{verdict}"
        )
    return "\n".join(lines)
