"""Results as tables."""

import io

from rich.console import Console
from rich.table import Table

from phiray.tables import HEADLINES, format_metric, headline_table, metric_table, plain_table

METRIC = {
    "value": 0.91234,
    "ci95": [0.9, 0.93],
    "n": 200,
    "unit": "share",
    "higher_is_better": True,
}


def shown(table: Table) -> str:
    buffer = io.StringIO()
    Console(file=buffer, width=120).print(table)
    return buffer.getvalue()


def test_headline_table_has_an_arm_with_missing_metrics() -> None:
    text = shown(headline_table("caption", {"align": {"swap_accuracy": METRIC}, "blank": {}}))
    assert "align" in text
    assert "blank" in text
    assert "0.9123" in text
    assert "[0.9, 0.93]" in text
    assert all(name in text for name in HEADLINES["caption"])


def test_metric_table_names_unit_count_and_direction() -> None:
    lower = METRIC | {"higher_is_better": False, "unit": "nats"}
    text = shown(metric_table("lm of x", {"x": {"good": METRIC, "bad": lower}}))
    cells = [line.split() for line in text.splitlines() if line.strip().startswith("x")]
    rows = {row[1]: row for row in cells}
    assert rows["good"][2:] == ["0.9123", "0.9", "..", "0.93", "200", "share", "higher"]
    assert rows["bad"][-2:] == ["nats", "lower"]


def test_plain_table_shows_markup_as_text() -> None:
    assert "[red]a[/red]" in shown(plain_table("", ["x"], [["[red]a[/red]"]]))


def test_format_metric_puts_the_interval_below_the_value() -> None:
    assert format_metric(METRIC) == "0.9123\n[0.9, 0.93]"
