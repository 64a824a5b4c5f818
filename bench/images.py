"""Deliver images to one training worker: phiray beside a DataLoader and others, in one run.

    python bench/images.py --samples DIR [--sizes 1500 15000] > bench/results/images.json

DIR holds `coco/images` and a tokenizer. Real pictures are repeated under distinct names; every side
runs in a process of its own, interleaved with the others, warm, over whole epochs. A peer that is
not installed is named as such. Two sizes take 25 minutes on two cores and 12 GB of disk.
Limits: one machine without a GPU, files in the page cache; memory is sampled, so a lower bound.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
from contention import commit
from demo import machine
from images_arms import ARMS, PHIRAY
from images_data import make_images, make_mds, make_tars

from phiray.jobs.memory import tree_memory_bytes

SIZES = (1_500, 15_000)
ROUNDS, EPOCHS = 3, 2
WARM_UP = 1_500
SECONDS_BETWEEN_SAMPLES = 0.5
PEERS = {"WebDataset": "webdataset", "MosaicML streaming": "streaming"}
"""Sides that need a package which phiray does not, and its module."""
DISTRIBUTIONS = (
    "phiray",
    "ray",
    "torch",
    "torchvision",
    "pillow",
    "open_clip_torch",
    "webdataset",
    "mosaicml-streaming",
)
OWN, OPEN_CLIP = "DataLoader, phiray's decode", "DataLoader, open_clip's transform"


def main() -> None:
    """Print rates and memory of all sides as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    absent = [name for name, module in PEERS.items() if find_spec(module) is None]
    arms = [name for name in (PHIRAY, *ARMS) if name not in absent]
    record: dict[str, Any] = {
        "machine": machine(),
        "commit": commit(),
        "versions": versions(),
        "rounds": given.rounds,
        "epochs_per_round": EPOCHS,
        "not_installed": absent,
        "sizes": {},
    }
    for size in given.sizes:
        with tempfile.TemporaryDirectory(prefix="phiray-images-") as place:
            folder = Path(place)
            make_images(given.samples, folder, number=size)
            if "WebDataset" in arms:
                make_tars(folder)
            if "MosaicML streaming" in arms:
                make_mds(folder)
            runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
            for number in range(given.rounds):
                for arm in arms[number % 2 :] + arms[: number % 2]:
                    runs[arm].append(measure(arm, folder, f"{number}-{arms.index(arm)}"))
                    print(size, number, arm, runs[arm][-1], file=sys.stderr)
        record["sizes"][str(size)] = {arm: sum_up(found) for arm, found in runs.items()}
    record["ratios"] = ratios(record["sizes"])
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def versions() -> dict[str, str]:
    """Name the versions of all that is compared."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def measure(arm: str, folder: Path, name: str) -> dict[str, Any]:
    """Run one side in a fresh process; sample the memory of it and of all that it starts."""
    lines = folder / f"lines-{name}.jsonl"
    words = [sys.executable, str(Path(__file__).with_name("images_arms.py")), arm, str(folder)]
    words += [str(WARM_UP), str(EPOCHS), str(lines)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    root, idle, peak = psutil.Process(process.pid), 0, 0
    while process.poll() is None:
        told = read_lines(lines)
        if told:
            memory = tree_memory_bytes(root)
            if len(told) == 1 and time.time() - lines.stat().st_mtime < IDLE_LOOK:
                idle = memory
            peak = max(peak, memory)
        time.sleep(SECONDS_BETWEEN_SAMPLES)
    epochs = read_lines(lines)[1:]
    if process.returncode or len(epochs) != EPOCHS:
        raise SystemExit(f"{arm} ended with {process.returncode} after {len(epochs)} epochs")
    return {"idle_bytes": idle, "peak_bytes": peak, "epochs": epochs}


IDLE_LOOK = 2.0
"""Seconds after a side says that it is idle in which its memory is looked at."""


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read what a side has said so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def sum_up(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Take medians and ranges over all epochs of all rounds."""
    epochs = [epoch for run in runs for epoch in run["epochs"]]
    return {
        "images": sorted({epoch["images"] for epoch in epochs}),
        "images_per_second": spread([epoch["images"] / epoch["seconds"] for epoch in epochs]),
        "first_batch_seconds": spread([epoch["first_seconds"] for epoch in epochs], digits=3),
        "idle_mb": spread([run["idle_bytes"] / 1e6 for run in runs]),
        "peak_mb": spread([run["peak_bytes"] / 1e6 for run in runs]),
        "above_idle_mb": spread([(run["peak_bytes"] - run["idle_bytes"]) / 1e6 for run in runs]),
    }


def spread(values: list[float], *, digits: int = 1) -> dict[str, float]:
    """Return least, median and largest value."""
    of = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, digits) for name, value in of.items()}


def ratios(sizes: dict[str, Any]) -> dict[str, Any]:
    """Compare phiray's medians with those of DataLoader, and its memory between the sizes."""
    found: dict[str, Any] = {}
    for size, arms in sizes.items():
        rate = {arm: of["images_per_second"]["median"] for arm, of in arms.items()}
        above = {arm: of["above_idle_mb"]["median"] for arm, of in arms.items()}
        found[size] = {
            "rate to DataLoader with open_clip's transform": rate[PHIRAY] / rate[OPEN_CLIP],
            "rate to DataLoader with phiray's decode": rate[PHIRAY] / rate[OWN],
            "memory above idle to DataLoader's": above[PHIRAY] / above[OWN],
        }
        found[size] = {name: round(value, 3) for name, value in found[size].items()}
    peaks = [arms[PHIRAY]["peak_mb"]["median"] for arms in sizes.values()]
    found["largest to smallest peak between sizes"] = round(max(peaks) / min(peaks), 3)
    return found


if __name__ == "__main__":
    main()
