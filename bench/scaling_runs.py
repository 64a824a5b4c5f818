"""The real runs that `bench/scaling.py` is held to: two stages on the built-in world.

Limits: small models, but large enough that a step is computing; random weights.
"""

import os
import signal
import statistics
import threading
import time
from pathlib import Path
from typing import TypeVar

from scaling_extrapolate import Found

from phiray.config.data import ImageDataConfig, TextDataConfig
from phiray.config.model import PhiConfig, ProjectorConfig, VisionConfig
from phiray.config.stages import AlignConfig, RunConfig, ScratchConfig
from phiray.config.training import ClusterConfig, TrainingConfig
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.runtime import ray_session
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME, Record, read_metrics
from phiray.training.quarantine import read_json_lines
from phiray.world.build import build_world
from phiray.world.clip import train_clip
from phiray.world.settings import WorldConfig

WARM_UP = 3
"""First steps of a run that are not counted: the first one waits for the pipeline to start."""
CHECKPOINTS = 2
"""Of a run."""
WORLD = WorldConfig(num_images=700, num_books=300, num_rows=7)
MODEL = PhiConfig(
    vocab_size=1280,
    hidden_size=256,
    intermediate_size=1024,
    num_hidden_layers=4,
    num_attention_heads=4,
    max_position_embeddings=128,
    partial_rotary_factor=0.5,
)
TEXT_ROWS, IMAGE_ROWS = 16, 64
"""Rows of a step: a third of a second on two cores."""
KILLED_STEPS, KILLED_EVERY, KILL_STEP = 30, 5, 13
LOGICAL_CPUS = 3
"""Two workers and their readers."""


AnyStage = TypeVar("AnyStage", ScratchConfig, AlignConfig)


class Silence:
    """A display that shows nothing."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def step(self, run: str, record: Record, max_steps: int) -> None:
        """Show nothing."""


class Runs:
    """Stages to train, and what they start from, in one folder."""

    def __init__(self, folder: Path, *, steps: int) -> None:
        """Make the world, a small CLIP, and a language model for `align`."""
        self._folder, self._steps = folder, steps
        build_world(folder / "data", seed=0, settings=WORLD)
        train_clip(self._images(), self._vision(), out=folder / "clip", seed=0, max_steps=1)
        self._text_run = run_folder(self.scratch(workers=1, name="language-model"))
        with ray_session(num_cpus=LOGICAL_CPUS):
            config = self.scratch(workers=1, name=self._text_run.name)
            train_stage(with_steps(config, 2, every=2), resume=False, display=Silence())

    def stages(self, *, workers: int, name: str) -> list[ScratchConfig | AlignConfig]:
        """Return the settings of both stages."""
        return [
            self.scratch(workers=workers, name=f"scratch-{name}"),
            self.align(workers=workers, name=f"align-{name}"),
        ]

    def scratch(self, *, workers: int, name: str) -> ScratchConfig:
        """Return the settings of a stage whose weights are all trained, on text."""
        config = ScratchConfig(
            run=self._run(name),
            data=TextDataConfig(
                root=str(self._folder / "data"),
                source="gutenberg",
                prepared=str(self._folder / "prepared"),
            ),
            model=MODEL,
            training=TrainingConfig(global_batch_size=TEXT_ROWS),
            cluster=ClusterConfig(workers=workers),
        )
        return with_steps(config, self._steps, every=self._steps // CHECKPOINTS)

    def align(self, *, workers: int, name: str) -> AlignConfig:
        """Return the settings of a stage that decodes pictures and trains a projector."""
        config = AlignConfig(
            run=self._run(name),
            data=self._images(),
            language_model=str(self._text_run),
            vision=self._vision(),
            projector=ProjectorConfig(kind="mlp"),
            training=TrainingConfig(global_batch_size=IMAGE_ROWS),
            cluster=ClusterConfig(workers=workers),
        )
        return with_steps(config, self._steps, every=self._steps // CHECKPOINTS)

    def measure_restart(self) -> Found:
        """Kill a worker of a run; return the seconds until the first step after its checkpoint."""
        config = with_steps(
            self.scratch(workers=2, name="killed"), KILLED_STEPS, every=KILLED_EVERY
        )
        run, killed = run_folder(config), []

        def kill() -> None:
            metrics = run / METRICS_NAME
            while not metrics.exists() or metrics.read_text().count("\n") < KILL_STEP:
                time.sleep(0.02)
            os.kill(events_of(run)[0]["pids"][1], signal.SIGKILL)
            killed.append(time.time())

        threading.Thread(target=kill, daemon=True).start()
        with ray_session(num_cpus=LOGICAL_CPUS):
            train_stage(config, resume=False, display=Silence())
        resumed = next(event for event in events_of(run) if event["event"] == "resume")
        first = read_metrics(run)[resumed["step"]]
        seconds = resumed["unix_time_seconds"] + _number(first, "step_seconds") - killed[0]
        return {"restart_seconds": seconds, "replayed_steps": resumed["replayed_steps"]}

    def _run(self, name: str) -> RunConfig:
        return RunConfig(name=name, output_dir=str(self._folder / "runs"))

    def _images(self) -> ImageDataConfig:
        return ImageDataConfig(
            root=str(self._folder / "data"),
            annotations=["coco/annotations/captions_train2017.json"],
            conversations=["instruct/world_conversations.json"],
        )

    def _vision(self) -> VisionConfig:
        return VisionConfig(
            model="custom",
            weights=str(self._folder / "clip"),
            image_size=WORLD.image_size,
            patch_size=16,
            hidden_size=128,
        )


def with_steps(config: AnyStage, steps: int, *, every: int) -> AnyStage:
    """Return the settings with so many steps, and a checkpoint at each of some of them."""
    update = {"max_steps": steps, "warmup_steps": 1, "checkpoint_every_steps": every}
    return config.model_copy(update={"training": config.training.model_copy(update=update)})


def measure_run(run: Path) -> Found:
    """Return a run's rows a second from the end of its warm-up on, checkpoints included."""
    events = {event["event"]: event["unix_time_seconds"] for event in events_of(run)}
    records = read_metrics(run)
    warming = sum(_number(record, "step_seconds") for record in records[:WARM_UP])
    counted = records[WARM_UP:]
    seconds = events["end"] - events["start"] - warming
    steps = [_number(record, "step_seconds") for record in counted]
    made = (run / "config.yaml").stat().st_mtime
    return {
        "counted_steps": len(counted),
        "checkpoints": CHECKPOINTS,
        "rows_per_second": sum(_number(record, "rows") for record in counted) / seconds,
        "step_seconds": statistics.fmean(steps),
        "waited_seconds": statistics.fmean(
            _number(record, "data_wait_seconds") for record in counted
        ),
        "seconds_outside_steps": seconds - sum(steps),
        "start_seconds": events["start"] + _number(records[0], "step_seconds") - made,
    }


def events_of(run: Path) -> list[Found]:
    """Return what befell a run."""
    return read_json_lines(run / EVENTS_NAME)


def _number(record: dict[str, object], name: str) -> float:
    return float(str(record[name]))
