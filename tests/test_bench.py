"""What bench/demo.py takes from a finished demo."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from phiray.chain import _data_note

ROOT = Path(__file__).resolve().parents[1]
# Any: report.json and what bench/demo.py makes of it.
COMMITTED: dict[str, Any] = json.loads((ROOT / "bench/results/demo.json").read_text())["demos"][0]


def sum_up(folder: Path) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("bench_demo", ROOT / "bench/demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.sum_up(folder)
    return found


def write_report(folder: Path, *, resumed: bool = False, note: str = COMMITTED["data"]) -> Path:
    """Write the parts of a report.json that are summed up, with the committed scores."""
    measured = {
        "seconds": {"data": 30.0, "total": 90.0},
        "peak_memory_bytes": 2e9,
        "date": "today",
        "runs": {"scratch": {"commit": "abc", "versions": {}}},
    }
    report = {
        "evals": COMMITTED["evals"],
        "training": {"scratch": {"seed": 0, "label_tokens": 1}},
        "notes": [note],
        "measured": measured | ({"resumed": True} if resumed else {}),
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.mark.parametrize("resumed", [False, True])
def test_bench_takes_the_time_of_the_whole_chain(tmp_path: Path, resumed: bool) -> None:
    found = sum_up(write_report(tmp_path, resumed=resumed))
    assert found["minutes"] == 1.5
    assert found["resumed"] is resumed
    assert found["bounds"] == COMMITTED["bounds"]


@pytest.mark.parametrize("data", [None, Path("real")])
def test_bench_holds_only_the_built_in_world_to_its_bounds(
    tmp_path: Path, data: Path | None
) -> None:
    found = sum_up(write_report(tmp_path, note=_data_note(data, seed=0)))
    assert ("bounds" in found) is (data is None)


def read_result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())
    return found


def test_the_page_on_checks_has_the_committed_figures() -> None:
    text = " ".join((ROOT / "docs" / "data-check.md").read_text().split())
    copies, checked = read_result("copies"), read_result("check")

    assert copies["taken_for_copies"] == 0
    nearest = copies["nearest_of_them"][0]
    assert f"of {copies['pairs_that_differ']:,} pairs that differ none" in text
    assert f"the nearest differing in {nearest} bits" in text
    kinds = ("4 % cropped", "mirrored")
    found = [c["found_fraction"] for name, c in copies["copies"].items() if name not in kinds]
    assert f"{100 * min(found):.1f} to {100 * max(found):.1f} % are found" in text
    assert f"4 %, {100 * copies['copies']['4 % cropped']['found_fraction']:.0f} % are found" in text
    assert sorted(d["distance"] for d in copies["dirt"].values()) == [7, 7, 10]
    rows, images = checked["rows"][-1], checked["images"]
    assert f"{rows['rows']:,} rows" in text
    assert f"{rows['seconds']:.0f} s, {rows['rows_per_second']:,} rows a second" in text
    assert f"{rows['peak_memory_mb']:,} MB" in text
    assert f"{checked['rows'][0]['peak_memory_mb']:,} MB" in text
    assert f"{images['images_per_second']} images a second" in text
