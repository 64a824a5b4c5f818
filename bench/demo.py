"""Sum up finished demos: machine, times, and whether scores hold and runs of one seed are equal.

    python bench/demo.py phiray-demo [ANOTHER...] > bench/results/demo.json

Limits: reads `report.json` of each folder and runs nothing; folders are left out of the result.
"""

import hashlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

# Any: report.json, whose form tests/unit/evals/test_report.py checks.
WORLD = "built-in world"
"""In the first note of a report whose data phiray made; of real samples it says so instead."""
Metrics = dict[str, Any]
Bound = tuple[str, float, str, float]
"""What is compared, its value, `<` or `>`, and the bound."""


def main(folders: list[str]) -> None:
    """Print the sum as JSON."""
    record = {"machine": machine(), "demos": [sum_up(Path(folder)) for folder in folders]}
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def machine() -> dict[str, object]:
    """Describe the machine without naming it."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("cpuinfo") if "model name" in line), "?"
    )
    memory = next((line.split()[1] for line in _lines("meminfo") if "MemTotal" in line), "0")
    return {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory) / 2**20, 1),
    }


def sum_up(folder: Path) -> dict[str, object]:
    """Take from a demo's report its times, versions and scores, and compare these."""
    report = json.loads((folder / "report.json").read_text())
    measured, runs = report["measured"], list(report["measured"]["runs"].values())
    seconds = measured["seconds"]
    return {
        "sha256_outside_measured": hash_outside_measured(report),
        "seed": next(iter(report["training"].values()))["seed"],
        "data": report["notes"][0],
        "date": measured["date"],
        "commit": sorted({run["commit"] for run in runs}),
        "versions": runs[0]["versions"],
        "seconds": seconds,
        "minutes": round(seconds["total"] / 60, 1),
        "resumed": measured.get("resumed", False),
        "peak_memory_gb": round(measured["peak_memory_bytes"] / 1e9, 1),
        "label_tokens": {name: run["label_tokens"] for name, run in report["training"].items()},
        "evals": report["evals"],
        # What real samples must score is not known.
        **({"bounds": check_bounds(report["evals"])} if WORLD in report["notes"][0] else {}),
    }


def check_bounds(evals: dict[str, dict[str, Metrics]]) -> list[Metrics]:
    """Compare what the demo on the built-in world must show."""
    return [
        {
            "what": what,
            "value": value,
            "is": sign,
            "bound": bound,
            "met": value < bound if sign == "<" else value > bound,
        }
        for what, value, sign, bound in bounds(evals)
    ]


def hash_outside_measured(report: Metrics) -> str:
    """Hash what two runs of one seed must have in common, which is all but one block."""
    rest = {key: value for key, value in report.items() if key != "measured"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def bounds(evals: dict[str, dict[str, Metrics]]) -> list[Bound]:
    """Name what the demo on the built-in world must show."""
    lm, caption, instruct = evals["lm"], evals["caption"], evals["instruct"]
    bits = "bits_per_byte"
    found: list[Bound] = []
    for arm in ("scratch", "litgpt"):
        for data in ("gutenberg", "redpajama"):
            unigram = lm[f"unigram@{data}"][bits]["value"]
            upper = lm[f"{arm}@{data}"][bits]["ci95"][1]
            found.append((f"{arm}@{data}: upper end of bits per byte", upper, "<", unigram))
    own = caption["align-standard"]
    gain, swap = own["visual_gain_shuffled_nats"]["ci95"][0], own["swap_accuracy"]["ci95"][0]
    cider = own["cider_d"]["ci95"][0]
    constant = 3 * caption["constant"]["cider_d"]["value"]
    shuffled = 2 * caption["shuffled"]["cider_d"]["ci95"][1]
    answers = instruct["instruct-standard"]["exact_match"]["ci95"][0]
    blank = instruct["blank"]["exact_match"]["ci95"][1]
    return [
        *found,
        ("align-standard: lower end of the visual gain against shuffled", gain, ">", 0.0),
        ("align-standard: lower end of swap accuracy", swap, ">", 0.8),
        ("align-standard: lower end of CIDEr-D, 3 x constant", cider, ">", constant),
        ("align-standard: lower end of CIDEr-D, 2 x upper end of shuffled", cider, ">", shuffled),
        ("instruct-standard: lower end of exact match, upper end of blank", answers, ">", blank),
    ]


def _lines(name: str) -> list[str]:
    return Path("/proc", name).read_text().splitlines()


if __name__ == "__main__":
    main(sys.argv[1:])
