"""The report as Markdown, for a pull request or a terminal.

Limits: tables and notes; pictures and curves are on the page.
"""

from collections.abc import Sequence

from phiray.evals.compare import Comparison
from phiray.evals.metrics import METRICS
from phiray.evals.report_page import (
    INTERVALS,
    LOSSES,
    SUITES,
    ReportContent,
    format_interval,
    format_value,
    is_own_arm,
)


def render_markdown(content: ReportContent) -> str:
    """Render the report; every text from data is escaped."""
    blocks = ["# phiray: what the models do on held-out data", INTERVALS]
    blocks += [_suite(suite, content) for suite in content.evals]
    blocks += [_comparison(comparison) for comparison in content.comparisons]
    blocks.append(_training(content))
    blocks.append("## Notes\n\n" + "\n".join(f"- {_escape(note)}" for note in content.notes))
    blocks.append(f"Written {content.measured['date']}.")
    return "\n\n".join(blocks) + "\n"


def _suite(suite: str, content: ReportContent) -> str:
    arms = content.evals[suite]
    columns = [kind for kind in METRICS.values() if any(kind.name in m for m in arms.values())]
    title, intro = SUITES.get(suite, (suite, ""))
    rows = []
    for arm, metrics in arms.items():
        name = _escape(arm) if is_own_arm(arm, suite, content.runs) else f"*{_escape(arm)}*"
        cells = [
            f"{format_value(metrics[kind.name].value)} ({format_interval(metrics[kind.name])})"
            if kind.name in metrics
            else ""
            for kind in columns
        ]
        rows.append([name, *cells])
    header = ["arm", *(f"{k.title} {'↑' if k.higher_is_better else '↓'}" for k in columns)]
    return f"## {title}\n\n{intro} Blind rows are in italics.\n\n{_table(header, rows)}"


def _comparison(comparison: Comparison) -> str:
    tokens = ", ".join(
        f"{_escape(arm)} {count:,}" for arm, count in comparison.label_tokens.items()
    )
    rows = [
        [
            METRICS[name].title,
            format_value(difference.metric.value),
            format_interval(difference.metric),
            str(difference.metric.n),
            _escape(comparison.better(name) or "open"),
        ]
        for name, difference in comparison.differences.items()
    ]
    header = ["metric", "difference", "95 % interval", "n", "better"]
    blocks = [
        f"## {_escape(comparison.first)} minus {_escape(comparison.second)}",
        f"Paired on the same samples. Label tokens: {tokens}.",
        *(f"**Note.** {_escape(note)}" for note in comparison.notes),
    ]
    return "\n\n".join([*blocks, _table(header, rows)] if rows else blocks)


def _training(content: ReportContent) -> str:
    rows = [
        [
            _escape(run.name),
            run.config.stage,
            run.method,
            f"{run.curve.steps[-1] if run.curve.steps else 0:,}",
            f"{run.label_tokens:,}",
            "" if run.curve.final_loss is None else format_value(run.curve.final_loss),
        ]
        for run in content.runs
    ]
    header = ["run", "stage", "method", "steps", "label tokens", "final loss (nats/token)"]
    return f"## Training\n\n{_table(header, rows)}\n\n{LOSSES}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escape(text: str) -> str:
    for mark in "\\`*_|<>[]#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
