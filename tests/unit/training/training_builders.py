"""A tiny Phi with a mixture of experts, and batches whose rows are pure functions of their id."""

from collections.abc import Iterator
from pathlib import Path

import torch

from phiray.batch import Batch, StepInput
from phiray.config.model import MoeConfig, PhiConfig
from phiray.config.training import MethodConfig, ScheduledSamplingMethod, TrainingConfig
from phiray.data.row_packing import packed_index
from phiray.models.build import build_language_model
from phiray.models.phi import Phi
from phiray.training.collective import Collective
from phiray.training.loop import LoopResult, LoopSettings, OnCheckpoint, Validate, run_loop
from phiray.training.notices import AskNotice
from phiray.training.objective import Objective
from phiray.training.run_files import open_run, resume
from phiray.training.state import TrainState, build_state
from phiray.types import FILLER_ROW, IGNORE_INDEX, BadRow

VOCAB = 41
IMAGE_ID = VOCAB - 1
"""No row holds it: a test that wants images writes it in."""
SEQ = 16
CPU = torch.device("cpu")
MOE = MoeConfig(
    num_experts=3, num_experts_per_token=2, intermediate_size=24, bias_update_rate=0.001
)
EXACT = ScheduledSamplingMethod(rollout="exact", start=0.9, end=0.3)
BAD_ROW = 5
"""This row arrives without labels and weight: it could not be read."""


def build_phi(moe: MoeConfig | None = MOE, *, seed: int = 3) -> Phi:
    """Build a model whose experts already do something, unlike fresh ones."""
    config = PhiConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=SEQ,
        partial_rotary_factor=0.5,
        moe=moe,
    )
    model = build_language_model(config, kind="phi", seed=seed)
    assert isinstance(model, Phi)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def build_objective(
    method: MethodConfig = EXACT,
    *,
    moe: MoeConfig | None = MOE,
    max_steps: int = 6,
    model: Phi | None = None,
) -> Objective:
    """Build the objective of a run."""
    model = model or build_phi(moe)
    return Objective(model, moe=moe, method=method, max_steps=max_steps, seed=11)


def build_batch(row_ids: list[int], *, seq: int = SEQ) -> Batch:
    """Make rows of different lengths and prompts; fillers and the bad row have no labels."""
    input_ids = torch.zeros(len(row_ids), seq, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, IGNORE_INDEX)
    weights = torch.ones(len(row_ids))
    for index, row_id in enumerate(row_ids):
        if row_id in (FILLER_ROW, BAD_ROW):
            weights[index] = 0
            continue
        length, prompt = 8 + row_id % 7, 1 + row_id % 4
        generator = torch.Generator().manual_seed(row_id)
        tokens = torch.randint(1, IMAGE_ID, (length,), generator=generator)  # (length,)
        input_ids[index, :length] = tokens
        attention_mask[index, :length] = 1
        labels[index, prompt:length] = tokens[prompt:]
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        labels=labels,
        loss_weights=weights,
        row_ids=torch.tensor(row_ids),
    )


def with_packed_rows(batch: Batch) -> Batch:
    """Let the rows of a batch be run end to end."""
    mask = batch["attention_mask"]
    index = packed_index(mask.sum(1).tolist(), seq=mask.shape[1], max_length=2 * mask.shape[1])
    return Batch({**batch, "packed_index": torch.from_numpy(index)})


def step_row_ids(step: int) -> list[int]:
    """Return the eight rows of a step; the last of every step is a filler."""
    return [7 * step + index for index in range(7)] + [FILLER_ROW]


def split_rows(row_ids: list[int], *, rank: int, world: int, accumulation: int) -> list[list[int]]:
    """Give one worker's share of a step, by micro-batch."""
    micro = len(row_ids) // (world * accumulation)
    first = rank * micro * accumulation
    return [row_ids[first + i * micro : first + (i + 1) * micro] for i in range(accumulation)]


def build_steps(
    start: int, end: int, *, rank: int = 0, world: int = 1, accumulation: int = 2
) -> Iterator[StepInput]:
    """Yield one worker's input of steps start .. end - 1."""
    for step in range(start, end):
        parts = split_rows(step_row_ids(step), rank=rank, world=world, accumulation=accumulation)
        bad = [BadRow(BAD_ROW, "broken", "no JPEG") for part in parts if BAD_ROW in part]
        yield StepInput([build_batch(part) for part in parts], bad)


def build_settings(
    *, max_steps: int = 6, max_bad_fraction: float = 0.1, num_rows: int = 21
) -> LoopSettings:
    """Settings of a short run: a checkpoint every two steps, three steps an epoch."""
    training = TrainingConfig(
        global_batch_size=7,
        max_steps=max_steps,
        warmup_steps=1,
        learning_rate=0.01,
        checkpoint_every_steps=2,
        log_row_ids=True,
    )
    return LoopSettings(
        training=training,
        device=CPU,
        seed=11,
        num_rows=num_rows,
        rows_per_epoch=num_rows,
        max_bad_fraction=max_bad_fraction,
    )


def train(
    run_dir: Path,
    *,
    objective: Objective | None = None,
    settings: LoopSettings | None = None,
    collective: Collective | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    validate: Validate | None = None,
    ask_notice: AskNotice | None = None,
    end: int = 6,
) -> tuple[TrainState, LoopResult]:
    """Start or resume a run, as a stage does; the data ends at step `end`."""
    collective = collective or Collective()
    settings = settings or build_settings()
    state = build_state(
        objective or build_objective(),
        training=settings.training,
        collective=collective,
        device=CPU,
    )
    files = open_run(run_dir, {"config.yaml": "stage: scratch\n"}, collective=collective)
    resume(state, files, collective=collective)
    steps = build_steps(state.step, end, rank=collective.rank, world=collective.world_size)
    result = run_loop(
        state,
        steps,
        settings=settings,
        files=files,
        collective=collective,
        on_checkpoint=on_checkpoint,
        validate=validate,
        ask_notice=ask_notice,
    )
    return state, result
