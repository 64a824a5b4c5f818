"""Time training steps whose threads wait in three ways; alone, and beside a busy process.

    python bench/contention.py > bench/results/contention.json

Takes four minutes on two cores: real training steps in fresh processes, interleaved.
Limits: one machine and one size of model; random tokens.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import machine

from phiray.threads import SPIN_COUNT, WAIT_POLICY

ROUNDS, STEPS, WARM_UP = 3, 30, 5
POLICIES = {
    "OpenMP's default": {},
    "asleep at once": {WAIT_POLICY: "PASSIVE"},
    "phiray's": {WAIT_POLICY: "PASSIVE", SPIN_COUNT: "1000"},
}
"""Without a setting, threads that wait spin for milliseconds; with phiray's, for microseconds."""
BUSY_LOOP = "while True: pass"


def main() -> None:
    """Print times of a step in seconds, by policy and by what else runs."""
    times: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for num_busy in (0, 1):
            for policy in POLICIES:
                with busy_processes(num_busy):
                    found = measure(policy)
                times.setdefault(f"{policy}, {num_busy} busy beside it", []).extend(found)
    record = {
        "machine": machine(),
        "commit": commit(),
        "rounds": ROUNDS,
        "steps_per_round": STEPS,
        "step_seconds": {
            name: {
                "min": round(min(found), 4),
                "median": round(statistics.median(found), 4),
                "mean": round(statistics.fmean(found), 4),
                "max": round(max(found), 4),
            }
            for name, found in times.items()
        },
    }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def commit() -> str:
    """Name the commit that is measured, with `+` if the tree has changes."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    return subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    ).stdout.strip()


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Keep so many cores busy for as long as the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(policy: str) -> list[float]:
    """Return the times of steps in a fresh process."""
    unset = (WAIT_POLICY, SPIN_COUNT)
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    words = [sys.executable, __file__, "steps"]
    environment |= POLICIES[policy]
    run = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return [float(value) for value in json.loads(run.stdout)]


def time_steps() -> list[float]:
    """Train the preset `tiny` of `scratch` on random tokens, with all cores."""
    import torch

    from phiray.batch import Batch
    from phiray.config.presets import preset
    from phiray.config.stages import ScratchConfig
    from phiray.config.training import StandardMethod
    from phiray.models.build import build_language_model
    from phiray.training.collective import Collective
    from phiray.training.objective import Objective
    from phiray.training.state import build_state
    from phiray.training.step import StepSettings, train_step

    config = preset("tiny", "scratch")
    assert isinstance(config, ScratchConfig)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    shape = (config.training.global_batch_size, config.data.sequence_length)
    tokens = torch.randint(1, config.model.vocab_size, shape)  # (batch, seq)
    batch = Batch(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        labels=tokens,
        loss_weights=torch.ones(shape[0]),
        row_ids=torch.arange(shape[0]),
    )
    objective = Objective(
        build_language_model(config.model, kind="phi", seed=0),
        moe=config.model.moe,
        method=StandardMethod(),
        max_steps=STEPS + WARM_UP,
        seed=0,
    )
    collective, device = Collective(), torch.device("cpu")
    state = build_state(objective, training=config.training, collective=collective, device=device)
    times = []
    for step in range(STEPS + WARM_UP):
        start = time.perf_counter()
        train_step(
            state.module,
            state.optimizer,
            micro_batches=[batch],
            step=step,
            settings=StepSettings(1.0, "fp32", device),
            collective=collective,
        )
        times.append(time.perf_counter() - start)
    return times[WARM_UP:]


if __name__ == "__main__":
    if sys.argv[1:] == ["steps"]:
        json.dump(time_steps(), sys.stdout)
    else:
        main()
