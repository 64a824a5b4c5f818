"""What the page of a report shows, and its rendering with jinja2 (autoescape on).

Limits: no script, no request to anywhere; pictures are data URIs and drawings inline SVG.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from phiray.evals.charts import Curve, CurveChart, Whisker, draw_curves, draw_whiskers
from phiray.evals.collect import EvaluatedRun
from phiray.evals.compare import Comparison
from phiray.evals.gallery import SELECTION_RULE
from phiray.evals.metrics import METRICS, MetricKind
from phiray.evals.report_gallery import Gallery, build_galleries
from phiray.evals.results import Arms, Metric

TEMPLATE = "report.html.jinja"

_OWN_ROWS = (
    "A blind row without a run's name behind it is that of the first run; another run's own row "
    "stands beside it where it differs."
)

SUITES = {
    "lm": (
        "Language models",
        "Predicting held-out documents of both sets; the unigram row knows only word frequencies. "
        + _OWN_ROWS,
    ),
    "caption": (
        "Describing pictures",
        "Held-out pictures with human captions. Grey rows are blind: they show what a score is "
        f"worth. {_OWN_ROWS}",
    ),
    "instruct": (
        "Answering questions",
        "Questions about held-out pictures; the grey row answers without seeing. " + _OWN_ROWS,
    ),
}
"""Title and one sentence for each suite."""

INTERVALS = (
    "Intervals cover the choice of images or documents that were scored, not another seed of "
    "training."
)
"""What no interval of a report says."""

LOSSES = (
    "Training losses of one chart or column need not compare: scheduled sampling is measured on "
    "inputs mixed with the model's own tokens, and language models on the text that each learnt "
    "from. What compares are the held-out figures above."
)
"""What curves and final losses must not be read as."""

_HEADLINES = (
    ("lm", "bits_per_byte", "unigram", "unigram"),
    ("caption", "visual_gain_shuffled_nats", "untrained", "untrained projector"),
    ("caption", "swap_accuracy", "untrained", "untrained projector"),
    ("caption", "cider_d", "constant", "constant caption"),
    ("instruct", "exact_match", "blank", "blank image"),
)
"""Suite, metric, blind arm beside it and what that arm is called."""

_SMALL = 0.01
"""Below this, three decimals would leave fewer than two digits to read."""


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report says, in whichever form."""

    runs: list[EvaluatedRun]
    evals: dict[str, Arms]
    comparisons: list[Comparison]
    notes: list[str]
    measured: dict[str, object]


@dataclass(frozen=True)
class Headline:
    """One number at the top."""

    title: str
    value: str
    interval: str
    arm: str
    blind: str
    """The same metric of a blind arm."""


@dataclass(frozen=True)
class Cell:
    """One metric of one arm."""

    value: str
    interval: str
    n: int
    whisker: Whisker


@dataclass(frozen=True)
class Row:
    """One arm."""

    arm: str
    is_blind: bool
    cells: list[Cell | None]

    @property
    def shared_n(self) -> int | None:
        """Samples behind every value of the row; None if they differ from cell to cell."""
        counts = {cell.n for cell in self.cells if cell}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class SuiteTable:
    """All arms of one suite."""

    title: str
    intro: str
    columns: list[MetricKind]
    rows: list[Row]


@dataclass(frozen=True)
class DifferenceRow:
    """One metric of a comparison."""

    kind: MetricKind
    value: str
    interval: str
    n: int
    whisker: Whisker
    better: str | None


@dataclass(frozen=True)
class ComparisonView:
    """Two arms set against each other."""

    comparison: Comparison
    rows: list[DifferenceRow]


def render_page(content: ReportContent) -> str:
    """Render the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        content=content,
        headlines=_headlines(content),
        galleries=_galleries(content),
        rule=SELECTION_RULE,
        intervals=INTERVALS,
        losses=LOSSES,
        tables=[_suite_table(suite, content) for suite in content.evals],
        comparisons=[_comparison_view(comparison) for comparison in content.comparisons],
        charts=_charts(content.runs),
    )


def format_value(value: float) -> str:
    """Write a number with as many decimals as a reader can use; only 0 itself reads as 0."""
    size = abs(value)
    if size < _SMALL:
        return f"{value:.2g}" if size else "0"
    if size >= 1000:
        return f"{value:,.0f}"
    decimals = 1 if size >= 100 else 2 if size >= 10 else 3
    return f"{value:.{decimals}f}"


def format_interval(metric: Metric) -> str:
    """Write an interval."""
    low, high = metric.ci95
    return f"{format_value(low)} to {format_value(high)}"


def data_uri(path: Path) -> str:
    """Return a JPEG file as a data URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"


def is_own_arm(arm: str, suite: str, runs: Sequence[EvaluatedRun]) -> bool:
    """Tell a run's arm from a blind row."""
    return any(arm in run.own_arms(suite) for run in runs)


def _headlines(content: ReportContent) -> list[Headline]:
    found = []
    for suite, name, blind_arm, blind_title in _HEADLINES:
        arms = content.evals.get(suite, {})
        own = [arm for arm in arms if is_own_arm(arm, suite, content.runs) and name in arms[arm]]
        if not own:
            continue
        arm = own[0]
        blind = blind_arm + arm[arm.index("@") :] if "@" in arm else blind_arm
        beside = arms.get(blind, {}).get(name)
        metric = arms[arm][name]
        found.append(
            Headline(
                title=METRICS[name].title,
                value=format_value(metric.value),
                interval=format_interval(metric),
                arm=arm,
                blind=f"{blind_title}: {format_value(beside.value)}" if beside else "",
            )
        )
    return found


def _galleries(content: ReportContent) -> list[Gallery]:
    return build_galleries(content.runs, encode=data_uri)


def _suite_table(suite: str, content: ReportContent) -> SuiteTable:
    arms = content.evals[suite]
    columns = [kind for kind in METRICS.values() if any(kind.name in m for m in arms.values())]
    cells = {kind.name: _column(kind, arms) for kind in columns}
    title, intro = SUITES.get(suite, (suite, ""))
    rows = [
        Row(
            arm,
            not is_own_arm(arm, suite, content.runs),
            [cells[kind.name].get(arm) for kind in columns],
        )
        for arm in arms
    ]
    return SuiteTable(title, intro, columns, rows)


def _column(kind: MetricKind, arms: Arms) -> dict[str, Cell]:
    metrics = {arm: found[kind.name] for arm, found in arms.items() if kind.name in found}
    whiskers = draw_whiskers(
        [(m.ci95[0], m.value, m.ci95[1]) for m in metrics.values()], zero=False
    )
    return {
        arm: Cell(format_value(metric.value), format_interval(metric), metric.n, whisker)
        for (arm, metric), whisker in zip(metrics.items(), whiskers, strict=True)
    }


def _comparison_view(comparison: Comparison) -> ComparisonView:
    rows = []
    for name, difference in comparison.differences.items():
        metric = difference.metric
        # Each metric has a line of its own: their units differ.
        low, high = metric.ci95
        whisker = draw_whiskers([(low, metric.value, high)], zero=True)[0]
        rows.append(
            DifferenceRow(
                kind=METRICS[name],
                value=f"{'+' if metric.value > 0 else ''}{format_value(metric.value)}",
                interval=format_interval(metric),
                n=metric.n,
                whisker=whisker,
                better=comparison.better(name),
            )
        )
    return ComparisonView(comparison, rows)


def _charts(runs: Sequence[EvaluatedRun]) -> list[CurveChart]:
    """Draw one chart for each kind of stage: losses of other stages are not comparable."""
    groups = {
        "Language models": ("scratch", "litgpt"),
        "Alignment": ("align",),
        "Instruction tuning": ("instruct",),
    }
    charts = []
    for title, stages in groups.items():
        curves = [
            Curve(run.name, run.curve.steps, run.curve.losses)
            for run in runs
            if run.config.stage in stages and run.curve.steps
        ]
        if curves:
            charts.append(draw_curves(title, curves))
    return charts
