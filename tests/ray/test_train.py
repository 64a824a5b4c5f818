"""Real runs through Ray Train: equal losses however the work is shared, and whatever is killed.

A kill is a SIGKILL to a real process of a real `phiray train`; the tests fail if nothing died or no
step had to be done again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from phiray.config.stages import AnyStageConfig
from phiray.config.training import ClusterConfig, ScheduledSamplingMethod
from phiray.jobs.display import SilentDisplay
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.models.clip import build_clip_model
from phiray.runtime import ray_session
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.stage_builders import (
    CLIP_CFG,
    align_config,
    instruct_config,
    litgpt_config,
    scratch_config,
    train,
    write_clip,
    write_world,
)

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
STEPS = 30
KILLED_STEPS, KILLED_INTERVAL = 120, 50
RELATIVE_TOLERANCE = 1e-5
LOSS = "train/loss_nats_per_token"
PATIENCE_SECONDS = 240
SAMPLING = ScheduledSamplingMethod(rollout="exact", start=1.0, end=0.25)


@dataclass(frozen=True)
class Inputs:
    """What the runs start from."""

    world: Path
    clip: Path
    language_model: Path
    aligned: Path


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("train")
    world, runs = write_world(root / "world"), root / "before"
    torch.manual_seed(0)
    visual = build_clip_model(CLIP_CFG).get_submodule("visual").state_dict()
    clip = write_clip(root / "clip", visual)
    language_model = train(scratch_config(world, runs)).run_dir
    aligned = train(align_config(world, runs, clip=clip, language_model=language_model)).run_dir
    return Inputs(world, clip, language_model, aligned)


@pytest.fixture(scope="module")
def ray_for_all(inputs: Inputs) -> Iterator[None]:
    with ray_session(workers=2):
        yield


Build = Callable[[Inputs, Path], AnyStageConfig]


def build_scratch(inputs: Inputs, runs: Path) -> AnyStageConfig:
    return scratch_config(inputs.world, runs)


def build_litgpt(inputs: Inputs, runs: Path) -> AnyStageConfig:
    return litgpt_config(inputs.world, runs)


def build_align(inputs: Inputs, runs: Path) -> AnyStageConfig:
    config = align_config(
        inputs.world, runs, clip=inputs.clip, language_model=inputs.language_model
    )
    return config.model_copy(update={"method": SAMPLING})


def build_instruct(inputs: Inputs, runs: Path) -> AnyStageConfig:
    config = instruct_config(inputs.world, runs, checkpoint=inputs.aligned)
    return config.model_copy(update={"method": SAMPLING})


def shared_out(config: AnyStageConfig, *, workers: int, accumulation: int) -> AnyStageConfig:
    training = config.training.model_copy(
        update={
            "max_steps": STEPS,
            "learning_rate": 1e-3,
            "global_batch_size": 6,  # no multiple of 4: fillers stand in some micro-batches
            "gradient_accumulation_steps": accumulation,
            "checkpoint_every_steps": 10,
            "log_row_ids": True,
        }
    )
    cluster = ClusterConfig(workers=workers, cpus_per_worker=1)
    return config.model_copy(update={"training": training, "cluster": cluster})


# Any: JSON of two files; each test knows the keys that it reads.
def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("build", [build_scratch, build_litgpt, build_align, build_instruct])
def test_two_ray_workers_with_four_micro_batches_lose_what_one_process_loses(
    build: Build, inputs: Inputs, ray_for_all: None, tmp_path: Path
) -> None:
    whole = shared_out(build(inputs, tmp_path / "1x1"), workers=1, accumulation=1)
    split = shared_out(build(inputs, tmp_path / "2x4"), workers=2, accumulation=4)
    train(whole)
    train_stage(split, resume=False, display=SilentDisplay())
    events = [event["event"] for event in read_lines(run_folder(split) / EVENTS_NAME)]
    assert events == ["start", "end"], "no attempt failed on the way"
    wanted, found = (read_lines(run_folder(config) / METRICS_NAME) for config in (whole, split))
    assert [record["step"] for record in found] == list(range(1, STEPS + 1))
    for key in ("row_ids", "label_tokens", "replaced_tokens"):
        assert [_sorted(record[key]) for record in found] == [_sorted(r[key]) for r in wanted], key
    losses = [torch.tensor([r[LOSS] for r in records]).double() for records in (found, wanted)]
    torch.testing.assert_close(losses[0], losses[1], rtol=RELATIVE_TOLERANCE, atol=0)
    mixes_tokens = split.stage in ("align", "instruct")
    assert (max(record["replaced_tokens"] for record in found) > 0) == mixes_tokens


# Any: one value of a record.
def _sorted(value: Any) -> Any:
    """Workers report their rows one after the other, so their order is that of the workers."""
    return sorted(value) if isinstance(value, list) else value


@pytest.fixture(scope="module")
def undisturbed(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An `align` run of two workers that nobody kills."""
    config = disturbed_config(inputs, tmp_path_factory.mktemp("undisturbed"))
    process = start_training(config, "")
    assert process.wait(PATIENCE_SECONDS) == 0
    return run_folder(config)


def disturbed_config(inputs: Inputs, runs: Path) -> AnyStageConfig:
    """Leave many steps between checkpoints: workers outlive a killed driver by some of them."""
    config = shared_out(build_align(inputs, runs), workers=2, accumulation=1)
    steps = {"max_steps": KILLED_STEPS, "checkpoint_every_steps": KILLED_INTERVAL}
    return config.model_copy(update={"training": config.training.model_copy(update=steps)})


def start_training(config: AnyStageConfig, *options: str) -> "subprocess.Popen[bytes]":
    """Run the command that a user would."""
    file = Path(config.run.output_dir) / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(config_yaml(config))
    arguments = ["train", config.stage, "--config", str(file), *filter(None, options)]
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


def test_run_survives_the_kill_of_a_worker(
    inputs: Inputs, undisturbed: Path, tmp_path: Path
) -> None:
    config = disturbed_config(inputs, tmp_path)
    run_dir = run_folder(config)
    process = start_training(config)
    wait_for_step(run_dir, KILLED_INTERVAL + 3, process=process)
    victim = read_lines(run_dir / EVENTS_NAME)[0]["pids"][1]
    os.kill(victim, signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == 0
    restarts = [e for e in read_lines(run_dir / EVENTS_NAME) if e["event"] == "resume"]
    assert len(restarts) == 1
    assert restarts[0]["step"] == KILLED_INTERVAL
    assert restarts[0]["replayed_steps"] > 0
    compare_runs(run_dir, undisturbed)


def test_run_goes_on_after_the_kill_of_its_driver(
    inputs: Inputs, undisturbed: Path, tmp_path: Path
) -> None:
    config = disturbed_config(inputs, tmp_path)
    run_dir = run_folder(config)
    process = start_training(config)
    wait_for_step(run_dir, KILLED_INTERVAL + 3, process=process)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    again = start_training(config, "--resume")
    assert again.wait(PATIENCE_SECONDS) == 0
    restarts = [e for e in read_lines(run_dir / EVENTS_NAME) if e["event"] == "resume"]
    assert len(restarts) == 1
    assert restarts[0]["replayed_steps"] > 0
    compare_runs(run_dir, undisturbed)
