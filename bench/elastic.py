"""Time how long an elastic run stands still when the node of one of its two workers is lost.

    python bench/elastic.py phiray-demo > bench/results/elastic.json

Takes eight minutes on two cores: `scratch` of a finished demo on two raylets of this machine; five
times one of them is killed, with the worker on it, and after the run has gone on without it another
one joins.
Limits: one machine; a head that notices a lost node within 3 s (Ray's default is 15 s).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import machine

from phiray.config.load import load_config
from phiray.stages.parts import config_yaml

ROOT = Path(__file__).resolve().parents[1]
KILLS, STEPS_BEFORE = 5, 120
"""A node is killed so many steps after two workers began."""
CHANGES = ["run.name=elastic", "training.max_steps=1000000", "training.checkpoint_every_steps=100"]
CHANGES += ["cluster.cpus_per_worker=1", f"cluster.max_failures={KILLS}"]


def main(demo: Path) -> None:
    """Print the seconds of each loss, from the kill to the first step after it, as JSON."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="phiray-") as folder:
        config, told = Path(folder, "config.yaml"), Path(folder, "told.json")
        changes = [*CHANGES, f"run.output_dir={folder}"]
        source = str(demo / "runs" / "scratch" / "config.yaml")
        settings = load_config(source, "scratch", overrides=changes, workers="1:2")
        config.write_text(config_yaml(settings))
        words = ["-m", "tests.ray.elastic_run", str(config), str(STEPS_BEFORE), str(KILLS)]
        command = [sys.executable, *words, str(told)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)  # Ray's lines
        kills = json.loads(told.read_text())
        manifest = json.loads(Path(folder, "elastic", "manifest.json").read_text())
        events = Path(folder, "elastic", "events.jsonl").read_text().splitlines()
    starts = [event for event in map(json.loads, events) if event["event"] in ("start", "resume")]
    seconds = [round(kill["first_step"] - kill["killed"], 1) for kill in kills]
    record = {
        "machine": machine(),
        **{key: manifest[key] for key in ("commit", "versions")},
        "load_before": round(load, 1),
        "workers": [len(event["pids"]) for event in starts],
        "replayed_steps": [event.get("replayed_steps", 0) for event in starts],
        "seconds_from_kill_to_first_step": seconds,
        "median_seconds": statistics.median(seconds),
    }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
