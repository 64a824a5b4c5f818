"""Lay out results as tables for a terminal.

Source: metrics come in the form of `report.json` (schema phiray.report/1).
Limits: text only; the report has the pictures.
"""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

MetricJson = Mapping[str, object]
"""`value`, `ci95`, `n`, `unit`, `higher_is_better`."""
ArmsJson = Mapping[str, Mapping[str, MetricJson]]
"""Metrics by arm and name."""

HEADLINES = {
    "lm": ("bits_per_byte", "token_perplexity"),
    "caption": ("bits_per_byte", "visual_gain_shuffled_nats", "swap_accuracy", "cider_d"),
    "instruct": ("answer_nats", "exact_match", "rouge_l"),
}
"""What is shown of each suite where all suites share a screen."""


def headline_table(suite: str, arms: ArmsJson) -> Table:
    """Lay out one suite: a row for each arm, a column for each headline metric."""
    table = _table(suite, ["arm", *HEADLINES[suite]], num_text_columns=1)
    for arm, metrics in arms.items():
        cells = [
            format_metric(metrics[name]) if name in metrics else "" for name in HEADLINES[suite]
        ]
        table.add_row(*_texts([arm, *cells]))
    return table


def metric_table(title: str, arms: ArmsJson) -> Table:
    """Lay out every metric of every arm, one row each, with its interval and count."""
    columns = ["arm", "metric", "value", "95 % interval", "n", "unit", "better"]
    table = _table(title, columns, num_text_columns=2)
    for arm, metrics in arms.items():
        for name, metric in metrics.items():
            low, high = _interval(metric)
            better = "higher" if metric["higher_is_better"] else "lower"
            cells = [arm, name, _number(metric["value"]), f"{low} .. {high}", str(metric["n"])]
            table.add_row(*_texts([*cells, str(metric["unit"]), better]))
    return table


def plain_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Lay out rows of anything, as text."""
    table = _table(title, columns, num_text_columns=len(columns))
    for row in rows:
        table.add_row(*_texts([str(cell) for cell in row]))
    return table


def format_metric(metric: MetricJson) -> str:
    """Write a value above its interval."""
    low, high = _interval(metric)
    return f"{_number(metric['value'])}\n[{low}, {high}]"


def _table(title: str, columns: Sequence[str], *, num_text_columns: int) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        is_text = index < num_text_columns
        table.add_column(Text(column), justify="left" if is_text else "right", overflow="fold")
    return table


def _texts(cells: Iterable[str]) -> list[Text]:
    """Keep square brackets in data from being read as rich's markup."""
    return [Text(cell) for cell in cells]


def _interval(metric: MetricJson) -> tuple[str, str]:
    ends = metric["ci95"]
    assert isinstance(ends, list | tuple)
    return _number(ends[0]), _number(ends[1])


def _number(value: object) -> str:
    assert isinstance(value, int | float)
    return f"{value:.4g}"
