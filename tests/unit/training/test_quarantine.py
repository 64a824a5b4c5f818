import json
from pathlib import Path

import pytest

from phiray.errors import DataError
from phiray.training.quarantine import (
    append_quarantine,
    bad_row_metrics,
    check_bad_rows,
    read_json_lines,
    restore_quarantine,
)
from phiray.types import BadRow


def test_restore_quarantine_forgets_what_came_after_the_step(tmp_path: Path) -> None:
    append_quarantine(tmp_path, [BadRow(4, "broken", "cut at byte 7")], step=2)
    append_quarantine(tmp_path, [BadRow(9, "missing", "a.jpg")], step=3)
    assert restore_quarantine(tmp_path, step=2) == {4: "broken"}
    lines = (tmp_path / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 2, "row_id": 4, "reason": "broken", "detail": "cut at byte 7"}
    ]


def test_restore_quarantine_of_a_new_run_is_empty(tmp_path: Path) -> None:
    assert restore_quarantine(tmp_path, step=0) == {}


def test_read_json_lines_stops_at_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"x": 1}\n{"x": 2}\n{"x"')
    assert read_json_lines(tmp_path / "a") == [{"x": 1}, {"x": 2}]


def test_check_bad_rows_allows_the_share_and_no_more(tmp_path: Path) -> None:
    reasons = {1: "broken", 2: "missing", 3: "broken"}
    check_bad_rows(reasons, num_rows=100, max_bad_fraction=0.03, run_dir=tmp_path)
    with pytest.raises(DataError, match=r"3 of 99 rows .*\(2 broken, 1 missing\).*0\.03.*--resume"):
        check_bad_rows(reasons, num_rows=99, max_bad_fraction=0.03, run_dir=tmp_path)


def test_bad_row_metrics_counts_each_reason() -> None:
    reasons = {1: "broken image", 2: "missing image", 7: "broken image"}
    assert bad_row_metrics(reasons) == {"bad_rows/broken_image": 2, "bad_rows/missing_image": 1}
    assert bad_row_metrics({}) == {}
