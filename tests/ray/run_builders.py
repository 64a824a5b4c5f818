"""The runs that these tests compare: each stage with all that could make workers disagree."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.config.training import ClusterConfig, ScheduledSamplingMethod
from tests.stage_builders import align_config, instruct_config, litgpt_config, scratch_config

STEPS = 30
KILLED_STEPS, KILLED_INTERVAL = 70, 25
LOSS = "train/loss_nats_per_token"
SAMPLING = ScheduledSamplingMethod(rollout="exact", start=1.0, end=0.25)


@dataclass(frozen=True)
class Inputs:
    """What the runs start from."""

    world: Path
    clip: Path
    language_model: Path
    aligned: Path


def build_scratch(inputs: Inputs, runs: Path) -> AnyStageConfig:
    return scratch_config(inputs.world, runs)


def build_litgpt(inputs: Inputs, runs: Path) -> AnyStageConfig:
    return litgpt_config(inputs.world, runs)


def build_align(inputs: Inputs, runs: Path) -> AnyStageConfig:
    config = align_config(
        inputs.world, runs, clip=inputs.clip, language_model=inputs.language_model
    )
    return _with_readers(config.model_copy(update={"method": SAMPLING}))


def build_instruct(inputs: Inputs, runs: Path) -> AnyStageConfig:
    config = instruct_config(inputs.world, runs, checkpoint=inputs.aligned)
    return _with_readers(config.model_copy(update={"method": SAMPLING}))


def _with_readers(config: AlignConfig | InstructConfig) -> AnyStageConfig:
    """Let several actors decode at once, so that their order could go wrong."""
    data = config.data.model_copy(update={"decode": "tasks", "readers": 2})
    return config.model_copy(update={"data": data})


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
    split = config.data.split.model_copy(update={"validation_fraction": 0.4})
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"training": training, "cluster": cluster, "data": data})


def killed_config(inputs: Inputs, runs: Path) -> AnyStageConfig:
    """Leave many steps between checkpoints: workers outlive a killed driver by some of them."""
    config = shared_out(build_align(inputs, runs), workers=2, accumulation=4)
    steps = {"max_steps": KILLED_STEPS, "checkpoint_every_steps": KILLED_INTERVAL}
    return config.model_copy(update={"training": config.training.model_copy(update=steps)})


# Any: JSON of two files; each test knows the keys that it reads.
def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
