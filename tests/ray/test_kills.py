"""Whatever is killed, a run ends with the losses and rows of one that nobody disturbed.

A kill is a SIGKILL to a real process of a real `phiray train align`; the tests fail if nothing died
or no step had to be done again. The command starts its own Ray, as for a user.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phiray.config.stages import AnyStageConfig
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.ray.run_builders import KILLED_INTERVAL, LOSS, Inputs, killed_config, read_lines

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
PATIENCE_SECONDS = 240


def start_training(config: AnyStageConfig, *options: str) -> "subprocess.Popen[bytes]":
    """Run the command that a user would."""
    file = Path(config.run.output_dir) / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(config_yaml(config))
    arguments = ["train", config.stage, "--config", str(file), *options]
    return subprocess.Popen([sys.executable, "-m", "phiray", *arguments])


def wait_for_step(run_dir: Path, step: int, *, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the run has logged a step."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        metrics = run_dir / METRICS_NAME
        if metrics.exists() and metrics.read_text().count("\n") >= step:
            return
        assert process.poll() is None, f"ended with {process.returncode} before step {step}"
        time.sleep(0.02)
    raise AssertionError(f"no step {step} within {PATIENCE_SECONDS} s")


def compare_runs(run_dir: Path, undisturbed: Path) -> None:
    """Each step stands once, with the same rows and bit for bit the same loss."""
    records, wanted = read_lines(run_dir / METRICS_NAME), read_lines(undisturbed / METRICS_NAME)
    for key in ("step", "row_ids", LOSS, "replaced_tokens"):
        assert [record[key] for record in records] == [record[key] for record in wanted], key


def test_run_survives_the_kill_of_a_worker_and_then_of_its_driver(
    inputs: Inputs, undisturbed: Path, tmp_path: Path
) -> None:
    config = killed_config(inputs, tmp_path)
    run_dir = run_folder(config)
    process = start_training(config)
    wait_for_step(run_dir, KILLED_INTERVAL + 3, process=process)
    rank_0 = read_lines(run_dir / EVENTS_NAME)[0]["pids"][0]  # writes metrics and checkpoints
    os.kill(rank_0, signal.SIGKILL)
    wait_for_step(run_dir, 2 * KILLED_INTERVAL + 3, process=process)  # it goes on by itself
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    again = start_training(config, "--resume")
    assert again.wait(PATIENCE_SECONDS) == 0
    restarts = [e for e in read_lines(run_dir / EVENTS_NAME) if e["event"] == "resume"]
    assert [event["step"] for event in restarts] == [KILLED_INTERVAL, 2 * KILLED_INTERVAL]
    assert all(event["replayed_steps"] > 0 for event in restarts)
    compare_runs(run_dir, undisturbed)
