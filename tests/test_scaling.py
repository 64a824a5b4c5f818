"""What bench/scaling.py foretells, from what, and what docs/scaling.md says of it."""

import importlib
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from phiray.planning.scaling import (
    Compute,
    Job,
    Links,
    Machine,
    Storage,
    checkpoint_seconds,
    foretell_step,
)

ROOT = Path(__file__).resolve().parents[1]
# Any: what bench/scaling.py wrote.
RESULT: dict[str, Any] = json.loads((ROOT / "bench/results/scaling.json").read_text())
DOCUMENT = (ROOT / "docs/scaling.md").read_text()
MARKED = dict(re.findall(r"<!-- (\S+) -->\n(.*?)<!-- end -->", DOCUMENT, re.DOTALL))
BOUND, FAR = 0.15, 0.16
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Import a module of bench/, whose modules import one another by bare names."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


# Any: a row of the result.
def compared(**given: object) -> list[dict[str, Any]]:
    return [row for row in RESULT["compared"] if given.items() <= row.items()]


def rounded(tree: object) -> object:
    """Return JSON with eight digits of each number: libraries of mathematics differ in the last."""
    return json.loads(json.dumps(tree), parse_float=lambda text: float(f"{float(text):.8g}"))


@pytest.mark.parametrize("stage", ["scratch", "align"])
@pytest.mark.parametrize("workers", [1, 2])
def test_committed_runs_are_foretold_within_the_bound(stage: str, workers: int) -> None:
    (row,) = compared(stage=stage, workers=workers)
    runs = [run["rows_per_second"] for run in RESULT["runs"][f"{stage}-{workers}"]]
    assert len(runs) >= 3
    assert row["measured"] == statistics.median(runs)
    assert abs(row["foretold"] / row["measured"] - 1) <= BOUND


@pytest.mark.parametrize("row", RESULT["compared"], ids=lambda row: f"{row['stage']}")
def test_committed_constants_foretell_the_same_again(row: dict[str, Any]) -> None:
    job = Job(**row["job"])
    machine = Machine(
        Compute(**row["machine"]["compute"]),
        Links(**row["machine"]["links"]),
        Storage(**row["machine"]["storage"]),
    )
    step = foretell_step(job, machine, workers=row["workers"])
    checkpoints = row["checkpoints"] * checkpoint_seconds(job, machine.storage)
    seconds = row["counted_steps"] * step.total + checkpoints
    rows = row["counted_steps"] * job.global_batch_size
    assert rows / seconds == pytest.approx(row["foretold"])


def test_bench_extrapolates_the_committed_constants(load: Load) -> None:
    judged = load("scaling_compare").judge(RESULT["compared"], RESULT["constants"])
    assert rounded(judged["extrapolated"]) == rounded(RESULT["extrapolated"])


def test_bench_does_not_extrapolate_from_what_foretold_badly(load: Load) -> None:
    far = [row | {"difference": -FAR} for row in RESULT["compared"][:1]]
    judged = load("scaling_compare").judge(RESULT["compared"] + far, RESULT["constants"])
    assert judged == {"largest_difference": FAR, "extrapolated": None}


def test_bench_takes_the_median_of_each_constant(load: Load) -> None:
    rounds = [{"a": 1.0, "b": {"c": 5.0}}, {"a": 9.0, "b": {"c": 6.0}}, {"a": 2.0, "b": {"c": 0.0}}]
    found = load("scaling_compare").combine(rounds, statistics.median)
    assert found == {"a": 2.0, "b": {"c": 5.0}}


def test_document_shows_the_committed_result(load: Load) -> None:
    """What is between its marks; `python bench/scaling.py --show` puts it there."""
    assert load("scaling_show").blocks(RESULT) == MARKED


def test_picture_is_that_of_the_committed_result(load: Load, tmp_path: Path) -> None:
    load("scaling_show").draw(RESULT, tmp_path / "scaling.svg")
    assert (tmp_path / "scaling.svg").read_text() == (ROOT / "docs/scaling.svg").read_text()
    lines = ElementTree.parse(tmp_path / "scaling.svg").iter("{http://www.w3.org/2000/svg}polyline")
    assert len(list(lines)) == 4 + 5 + 2  # stages; parts of a step; stages with pictures
