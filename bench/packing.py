"""What `data.group_by_length` and `data.packing` save: padding, and the time of an epoch.

    python bench/packing.py DATA > bench/results/packing.json

Takes three minutes on two cores: real instruction rows, training steps of a small model, the four
ways interleaved and each with the same rows. DATA holds instruct/derived_from_coco.json with its
images, and instruct/llava_bench_coco_as_instruct.json, of which rows of text alone are made.
Limits: one machine, the language model alone (the frozen tower costs the same in all), ids folded
into a small vocabulary so that the head weighs as little as in Phi-2; no GPU, where a mask costs
more.
"""

import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from contention import commit
from demo import machine

from phiray.batch import Batch
from phiray.config.data import ImageDataConfig
from phiray.config.model import PhiConfig
from phiray.config.training import StandardMethod, TrainingConfig
from phiray.data.collate import collate_step
from phiray.data.image_sets import conversation_rows
from phiray.data.order import plan_order, rank_positions, steps_per_epoch
from phiray.data.rows import RowSource
from phiray.models.build import build_language_model
from phiray.text.prompts import strip_image_marker
from phiray.training.collective import Collective
from phiray.training.objective import Objective
from phiray.training.state import build_state
from phiray.training.step import StepSettings, train_step

ROUNDS = 3
GLOBAL_BATCH = 32
ACCUMULATIONS = (4, 1)
"""Micro-batches of 8 rows, as in the preset `phi-2`, and of 32, which are timed."""
NUM_PATCHES = 49
VOCAB = 2048
ARMS = {
    "as drawn": (False, False),
    "group_by_length": (True, False),
    "packing": (False, True),
    "both": (True, True),
}
"""Grouped by length or not, packed or not."""
DEVICE = torch.device("cpu")


@dataclass(frozen=True)
class Arm:
    """One way to make the batches of an epoch."""

    steps: list[list[Batch]]

    @property
    def padding_fraction(self) -> float:
        """Share (0..1) of the positions that are computed and hold no token."""
        batches = [batch for step in self.steps for batch in step]
        real = sum(int(batch["attention_mask"].sum()) for batch in batches)
        computed = sum(batch.get("packed_index", batch["input_ids"]).numel() for batch in batches)
        return 1 - real / computed


def main(data: Path) -> None:
    """Print padding by way and micro-batch, and seconds of an epoch by way."""
    with tempfile.TemporaryDirectory() as folder:
        config = settings_of(data, Path(folder))
        rows = conversation_rows(config, num_patches=NUM_PATCHES, seed=0)
    lengths = [len(ids) for ids in rows.read(np.arange(rows.num_rows))["input_ids"].to_pylist()]
    padding = {}
    for accumulation in ACCUMULATIONS:
        arms = {name: build_arm(rows, config, name, accumulation) for name in ARMS}
        label = f"micro-batches of {GLOBAL_BATCH // accumulation} rows"
        padding[label] = {name: round(arm.padding_fraction, 4) for name, arm in arms.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ARMS}
    losses: dict[str, float] = {}
    for number in range(ROUNDS):
        for name in list(ARMS)[:: 1 if number % 2 == 0 else -1]:
            losses[name], spent = train_epoch(arms[name].steps)
            seconds[name].append(spent)
    print_record(rows, lengths, padding=padding, seconds=seconds, losses=losses)


def settings_of(data: Path, folder: Path) -> ImageDataConfig:
    """Name the rows with images, and write those without into a folder."""
    found = json.loads((data / "instruct/llava_bench_coco_as_instruct.json").read_text())
    texts = [{"conversations": row["conversations"]} for row in found]
    for row in texts:
        first = row["conversations"][0]
        first["value"] = strip_image_marker(first["value"])
    file = folder / "texts.json"
    file.write_text(json.dumps(texts))
    return ImageDataConfig(
        root=str(data),
        tokenizer="tokenizer/phi-2-reconstructed",
        conversations=["instruct/derived_from_coco.json", str(file)],
        max_length=2048,
    )


def build_arm(rows: RowSource, config: ImageDataConfig, name: str, accumulation: int) -> Arm:
    """Make the batches of the first epoch, without pixels."""
    grouped, packed = ARMS[name]
    order = plan_order(rows, seed=0, global_batch_size=GLOBAL_BATCH, group_by_length=grouped)
    positions = rank_positions(
        order,
        rank=0,
        world=1,
        accumulation=accumulation,
        start_step=0,
        num_steps=steps_per_epoch(order),
    )
    steps = []
    for step in positions:
        collated = collate_step(
            rows.read(step.reshape(-1)),
            accumulation=accumulation,
            pad_id=0,
            image_size=None,
            max_packed_length=config.max_length if packed else None,
        )
        for batch in collated.micro_batches:
            batch["input_ids"] %= VOCAB
            batch["labels"] = torch.where(
                batch["labels"] < 0, batch["labels"], batch["labels"] % VOCAB
            )
        steps.append(collated.micro_batches)
    return Arm(steps)


def train_epoch(steps: list[list[Batch]]) -> tuple[float, float]:
    """Train a fresh model for an epoch; return the loss of its first step, and the seconds."""
    model = build_language_model(
        PhiConfig(
            vocab_size=VOCAB,
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=3,
            num_attention_heads=3,
            max_position_embeddings=2048,
            partial_rotary_factor=0.5,
        ),
        kind="phi",
        seed=0,
    )
    objective = Objective(model, moe=None, method=StandardMethod(), max_steps=len(steps), seed=0)
    collective = Collective()
    training = TrainingConfig(max_steps=len(steps), warmup_steps=0)
    state = build_state(objective, training=training, collective=collective, device=DEVICE)
    losses = []
    start = time.perf_counter()
    for number, batches in enumerate(steps):
        result = train_step(
            state.module,
            state.optimizer,
            micro_batches=batches,
            step=number,
            settings=StepSettings(1.0, "fp32", DEVICE),
            collective=collective,
        )
        losses.append(result.loss_nats_per_token)
    return losses[0], time.perf_counter() - start


def print_record(
    rows: RowSource,
    lengths: list[int],
    *,
    padding: dict[str, dict[str, float]],
    seconds: dict[str, list[float]],
    losses: dict[str, float],
) -> None:
    """Print all as JSON."""
    base = seconds["as drawn"]
    num_steps = -(-len(lengths) // GLOBAL_BATCH)
    record = {
        "machine": machine(),
        "torch": torch.__version__,
        "commit": commit(),
        "rows": {part.name: part.num_rows for part in rows.mixture},
        "tokens_per_row": {
            "mean": round(statistics.fmean(lengths), 1),
            "shortest": min(lengths),
            "median": statistics.median(lengths),
            "longest": max(lengths),
        },
        "global_batch_size": GLOBAL_BATCH,
        "padding_fraction": padding,
        "rounds": ROUNDS,
        "epoch": {
            name: {
                "seconds_median": round(statistics.median(found), 3),
                "seconds_min": round(min(found), 3),
                "seconds_max": round(max(found), 3),
                "steps_per_second": round(num_steps / statistics.median(found), 3),
                "times_as_fast": [round(a / b, 3) for a, b in zip(base, found, strict=True)],
            }
            for name, found in seconds.items()
        },
        "first_loss": {name: round(loss, 6) for name, loss in losses.items()},
    }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
