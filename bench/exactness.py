"""Train each stage of a finished demo with other workers and micro-batches, and compare losses.

    python bench/exactness.py phiray-demo > bench/results/exactness.json

Takes ten minutes on two cores: sixteen real `phiray train` of 30 steps, in fp32.
Limits: one machine; the largest difference over all steps, relative to one worker without
accumulation.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import machine

STEPS = 30
RUNS = ("scratch", "litgpt", "align-scheduled-sampling", "instruct-scheduled-sampling")
LAYOUTS = ((1, 1), (1, 4), (2, 1), (2, 4))
"""Workers and micro-batches of a step; the first one is what the others are compared with."""
LOSS = "train/loss_nats_per_token"


def main(demo: Path) -> None:
    """Print the largest relative difference of each stage and layout as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: compare(demo / "runs" / name, Path(scratch)) for name in RUNS}
        manifest = json.loads((Path(scratch) / f"{RUNS[0]}-1x1" / "manifest.json").read_text())
    made_by = {key: manifest[key] for key in ("commit", "versions")}
    record = {"machine": machine(), **made_by, "steps": STEPS, "stages": found}
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def compare(run: Path, scratch: Path) -> dict[str, float]:
    """Return the largest relative difference of each layout, by `workers x micro-batches`."""
    found = {layout: losses(run, scratch, *layout) for layout in LAYOUTS}
    wanted = found[LAYOUTS[0]]
    return {
        f"{workers}x{accumulation}": max(
            abs(own - other) / abs(other) for own, other in zip(values, wanted, strict=True)
        )
        for (workers, accumulation), values in found.items()
    }


def losses(run: Path, scratch: Path, workers: int, accumulation: int) -> list[float]:
    """Train as a user would; return the loss of each step."""
    name = f"{run.name}-{workers}x{accumulation}"
    stage = run.name.partition("-")[0]
    changes = {
        "run.name": name,
        "run.output_dir": scratch,
        "training.max_steps": STEPS,
        "training.warmup_steps": 3,
        "training.gradient_accumulation_steps": accumulation,
    }
    words = [sys.executable, "-m", "phiray", "train", stage, "--config", run / "config.yaml"]
    words += ["--workers", workers]
    words += [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    subprocess.run([str(word) for word in words], check=True, stdout=sys.stderr)
    records = (scratch / name / "metrics.jsonl").read_text().splitlines()
    assert len(records) == STEPS
    return [float(json.loads(record)[LOSS]) for record in records]


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
