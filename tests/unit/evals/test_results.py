"""Results survive a round trip; what is not a result is refused with its place."""

import json
from pathlib import Path

import pytest

from phiray.errors import DataError, ExitCode
from phiray.evals.results import (
    RESULT_FILE,
    SAMPLES_FILE,
    Metric,
    Sample,
    SuiteResult,
    metric_to_json,
    read_result,
    read_samples,
    write_result,
)

METRIC = Metric(0.1 + 0.2, (0.25, 0.35), 7, "fraction", higher_is_better=True)
RESULT = SuiteResult(
    "caption",
    "align",
    {"align": {"rouge_l": METRIC}, "blank": {"rouge_l": METRIC}},
    {"images": 7},
    ["a note"],
    {"seconds": 1.5},
)
SAMPLES = [Sample("align", "1", "1", {"rouge_l": [0.1 + 0.2, 1.0]}, {"answer": "a\u2028b\n"})]


def test_write_result_and_read_result_are_inverse(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT, SAMPLES)
    assert read_result(tmp_path) == RESULT
    assert read_samples(tmp_path) == SAMPLES


def test_metric_to_json_has_the_keys_of_the_report() -> None:
    assert metric_to_json(METRIC) == {
        "value": 0.1 + 0.2,
        "ci95": [0.25, 0.35],
        "n": 7,
        "unit": "fraction",
        "higher_is_better": True,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_metric_refuses_what_is_not_finite(value: float) -> None:
    with pytest.raises(DataError, match="must be finite"):
        Metric(value, (0.0, 1.0), 1, "nats", higher_is_better=False)


def test_metric_refuses_an_interval_that_is_upside_down() -> None:
    with pytest.raises(DataError, match="lower end must come first"):
        Metric(0.5, (1.0, 0.0), 1, "nats", higher_is_better=False)


def test_read_result_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Run `phiray eval` on that run first") as error:
        read_result(tmp_path)
    assert error.value.exit_code is ExitCode.MISSING_INPUT


def test_read_result_refuses_another_schema(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT, SAMPLES)
    payload = json.loads((tmp_path / RESULT_FILE).read_text())
    (tmp_path / RESULT_FILE).write_text(json.dumps({**payload, "schema": "other/9"}))
    with pytest.raises(DataError, match="has schema 'other/9'"):
        read_result(tmp_path)


def test_read_result_names_the_broken_key(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT, SAMPLES)
    payload = json.loads((tmp_path / RESULT_FILE).read_text())
    payload["arms"]["align"]["rouge_l"]["n"] = "many"
    (tmp_path / RESULT_FILE).write_text(json.dumps(payload))
    with pytest.raises(DataError, match=r"arms\.align\.rouge_l\.n"):
        read_result(tmp_path)


def test_read_samples_names_the_broken_line(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT, SAMPLES)
    with (tmp_path / SAMPLES_FILE).open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError, match="a sample in line 2"):
        read_samples(tmp_path)
