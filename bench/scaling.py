"""Foretell how training scales from constants measured apart; but first be held to it.

    python bench/scaling.py             # bench/results/scaling.json; ten minutes on two quiet cores
    python bench/scaling.py --show      # puts its figures into docs/scaling.md and scaling.svg

Real runs of one and of two workers (`scratch` and `align` on the built-in world) take turns with
the micro-benchmarks of `scaling_constants.py`. Where a foretold throughput is more than 15 % off,
this says by how much, extrapolates nothing and ends with 1.
Limits: two cores and gloo; what is said of GPUs rests on constants that are given, and named so.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contention import commit
from demo import machine
from scaling_compare import TOLERANCE, combine, compare, judge, say
from scaling_extrapolate import Found
from scaling_runs import LOGICAL_CPUS, Runs, Silence, measure_run
from scaling_show import blocks, draw
from scaling_words import refresh

from phiray.checkpoints.files import write_json
from phiray.jobs.run_folder import package_versions, run_folder
from phiray.jobs.train import train_stage
from phiray.node import num_cores
from phiray.runtime import ray_session
from phiray.threads import let_threads_sleep

WORKERS = (1, 2)
HERE = Path(__file__).parent


def main(out: Path, *, rounds: int, steps: int) -> int:
    """Measure, foretell, compare, and only then extrapolate; write it all down."""
    let_threads_sleep()  # as workers do, which this process starts
    load, started = os.getloadavg(), time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        runs = Runs(Path(scratch), steps=steps)
        found, bare = measure(runs, Path(scratch) / "setup.json", rounds=rounds)
        constants = {
            "bare": combine(bare, statistics.median),
            "ray": run_child("ray", Path(scratch) / "setup.json"),
            "restart": runs.measure_restart(),
            "start_seconds": statistics.median(run["start_seconds"] for run in found["scratch-2"]),
        }
        compared = [
            compare(
                config,
                constants,
                found[f"{config.stage}-{workers}"],
                workers=workers,
                cores=num_cores(),
            )
            for workers in WORKERS
            for config in runs.stages(workers=workers, name="compared")
        ]
    record = {
        "machine": machine(),
        "versions": package_versions(),
        "commit": commit(),
        "load_average": {"before": load, "after": os.getloadavg()},
        "minutes": round((time.monotonic() - started) / 60, 1),
        "rounds": rounds,
        "steps": steps,
        "constants": constants,
        "compared": compared,
        "constants_by_round": bare,
        "runs": found,
        **judge(compared, constants),
    }
    write_json(out, record)  # not to standard output, where Ray tells of the worker that was killed
    for row in compared:
        tell(say(row))
    if record["extrapolated"] is None:
        tell(f"{record['largest_difference']:.1%} off, over {TOLERANCE:.0%}: not extrapolated.")
    return int(record["extrapolated"] is None)


def measure(runs: Runs, setup: Path, *, rounds: int) -> tuple[Found, list[Found]]:
    """Measure runs and constants in turn, so that a machine that drifts does so for both."""
    cases = [config.model_dump(mode="json") for config in runs.stages(workers=1, name="case")]
    setup.write_text(json.dumps(cases))
    found: Found = {}
    bare: list[Found] = []
    started = time.monotonic()
    for index in range(rounds):
        with ray_session(num_cpus=LOGICAL_CPUS):
            for workers in WORKERS:
                for config in runs.stages(workers=workers, name=f"{workers}-{index}"):
                    train_stage(config, resume=False, display=Silence())
                    run = measure_run(run_folder(config))
                    found.setdefault(f"{config.stage}-{workers}", []).append(run)
        bare.append(run_bare(setup))
        tell(f"round {index + 1} of {rounds} done after {time.monotonic() - started:.0f} s")
    return found, bare


def run_bare(setup: Path) -> Found:
    """Measure in one process, then in two at once; of these, return the mean."""
    setup.with_name("rendezvous").unlink(missing_ok=True)
    processes = [start_child("bare", setup, "--rank", str(rank)) for rank in range(2)]
    first, second = (answer_of(process) for process in processes)
    return {"1": first["1"], "2": combine([first["2"], second["2"]], statistics.fmean)}


def run_child(what: str, setup: Path) -> Found:
    """Measure in a process of its own."""
    return answer_of(start_child(what, setup))


def start_child(what: str, setup: Path, *words: str) -> "subprocess.Popen[str]":
    """Start a process that measures, and prints what it found."""
    program = [sys.executable, str(HERE / "scaling_constants.py"), what, str(setup), *words]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


def answer_of(process: "subprocess.Popen[str]") -> Found:
    """Wait for what a process prints last."""
    output = process.communicate()[0]
    assert process.returncode == 0, "its traceback stands above"
    answer: Found = json.loads(output.splitlines()[-1])
    return answer


def tell(text: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "scaling.json")
    parser.add_argument("--again", action="store_true", help="extrapolate anew from its constants")
    parser.add_argument("--show", action="store_true", help="write its figures into docs/")
    words = parser.parse_args()
    if not (words.again or words.show):
        sys.exit(main(words.out, rounds=words.rounds, steps=words.steps))
    result = json.loads(words.out.read_text())
    if words.again:
        result |= judge(result["compared"], result["constants"])
        write_json(words.out, result)
    if words.show:
        refresh(HERE.parent / "docs" / "scaling.md", blocks(result))
        draw(result, HERE.parent / "docs" / "scaling.svg")
