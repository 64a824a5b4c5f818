"""What four real processes with gloo find out; each scenario's results go into one JSON file.

One start serves all scenarios: importing torch four times costs more than they do.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from phiray.errors import CheckpointError, ExitCode, PhirayError
from phiray.models.freezing import freeze_for_stage
from phiray.models.projector import Projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.training.collective import Collective, current_collective, raise_together, run_on_first
from phiray.training.metrics_log import EVENTS_NAME, MetricsLog, read_metrics
from phiray.training.notices import Notice, Notices
from phiray.training.objective import Objective
from phiray.training.state import TrainState, build_state
from phiray.training.step import StepSettings, train_step
from phiray.types import IGNORE_INDEX
from tests.unit.training.training_builders import (
    CPU,
    EXACT,
    IMAGE_ID,
    MOE,
    build_batch,
    build_objective,
    build_phi,
    build_settings,
    split_rows,
    step_row_ids,
    train,
)

WORLD = 4
NUM_STEPS = 3
POISONED_RANK = 2
Report = dict[str, object]


def run_four(folder: Path) -> None:
    """Start four processes; each writes RANK.json into the folder."""
    spawn(_work, args=(str(folder),), nprocs=WORLD)  # type: ignore[no-untyped-call]  # torch's own


def take_steps(
    collective: Collective, *, accumulation: int
) -> tuple[list[list[float]], list[float]]:
    """Make a few steps; return loss, norm and counts of each, and a digest of its gradient."""
    state = fresh_state(collective)
    found: list[list[float]] = []
    gradients: list[float] = []
    for step in range(NUM_STEPS):
        parts = split_rows(
            step_row_ids(step),
            rank=collective.rank,
            world=collective.world_size,
            accumulation=accumulation,
        )
        result = train_step(
            state.module,
            state.optimizer,
            micro_batches=[build_batch(part) for part in parts],
            step=step + 1,
            settings=step_settings(),
            collective=collective,
        )
        gradients += digest_gradients(state)
        found.append(
            [
                result.loss_nats_per_token,
                result.grad_norm,
                float(result.num_label_tokens),
                float(result.num_rows),
                float(result.num_replaced_tokens),
                result.balance,
                result.z,
            ]
        )
    return found, gradients


def fresh_state(collective: Collective) -> TrainState:
    """Build the same model on every worker."""
    training = build_settings().training
    return build_state(build_objective(), training=training, collective=collective, device=CPU)


def step_settings() -> StepSettings:
    """Settings of a plain step."""
    return StepSettings(max_grad_norm=1.0, precision="fp32", device=CPU)


def digest_gradients(state: TrainState) -> list[float]:
    """Project each (clipped) gradient onto a fixed random direction of length 1."""
    digests = []
    for parameter in state.model.parameters():
        generator = torch.Generator().manual_seed(parameter.numel())
        direction = torch.randn(parameter.shape, generator=generator)
        assert parameter.grad is not None
        digests.append(float((parameter.grad * direction / direction.norm()).sum()))
    return digests


def weigh(state: TrainState) -> float:
    """Reduce all weights and buffers to one number that notices any change."""
    tensors = state.model.state_dict().values()
    return sum(
        float((t.double().flatten() * torch.arange(1, t.numel() + 1)).sum()) for t in tensors
    )


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    path = Path(folder)
    report: Report = {}
    distributed.init_process_group(
        "gloo", init_method=f"file://{path / 'store-4'}", rank=rank, world_size=WORLD
    )
    collective = current_collective()
    report["4x1"] = take_steps(collective, accumulation=1)
    report["collective"] = _talk(collective)
    report["frozen"] = _align(collective)
    report["non-finite"] = _poison(collective)
    report["no labels"] = _message(lambda: _step_without_labels(collective))
    report["straight"] = _losses(path / "straight", collective)
    report["resumed"] = _resume(path / "resumed", collective)
    report |= _hear(path / "notice", collective)
    strict = build_settings(max_bad_fraction=0.01)
    report["bad rows"] = _message(
        lambda: train(path / "bad", collective=collective, settings=strict)
    )
    report["early end"] = _message(
        lambda: train(path / "early", collective=collective, end=6 if rank else 3)
    )
    full = CheckpointError("no space is left", exit_code=ExitCode.IO)
    with patch.object(MetricsLog, "write", side_effect=full):
        report["full disk"] = _message(lambda: train(path / "full", collective=collective))
    distributed.destroy_process_group()
    if rank < 2:
        distributed.init_process_group(
            "gloo", init_method=f"file://{path / 'store-2'}", rank=rank, world_size=2
        )
        report["2x2"] = take_steps(current_collective(), accumulation=2)
        distributed.destroy_process_group()
    (path / f"{rank}.json").write_text(json.dumps(report))


class _Tower(nn.Module):
    """Sees the first pixels of a picture; one frozen weight, one buffer."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(6))
        self.register_buffer("mean", torch.zeros(6))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return pixel_values.float().flatten(1)[:, None, :6] @ self.weight - self.mean


def _align(collective: Collective) -> Report:
    """Train a projector alone; only rank 0 has a picture."""
    torch.manual_seed(0)  # the same projector on all
    projector = Projector(nn.Linear(6, 32), vision_hidden_size=6)
    model = VisionLanguageModel(build_phi(), _Tower(), projector, image_token_id=IMAGE_ID)
    freeze_for_stage(model, "align")
    objective = Objective(model, moe=MOE, method=EXACT, max_steps=2, seed=11)
    training = build_settings().training
    state = build_state(objective, training=training, collective=collective, device=CPU)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = build_batch([collective.rank])
    batch["pixel_values"] = torch.full((0, 3, 2, 2), 9, dtype=torch.uint8)
    if collective.rank == 0:
        batch["pixel_values"] = torch.full((1, 3, 2, 2), 9, dtype=torch.uint8)
        batch["input_ids"][0, 0] = IMAGE_ID
    _step(state, batch, collective=collective)
    changed = [name for name, t in model.state_dict().items() if not torch.equal(t, before[name])]
    assert isinstance(state.module, DistributedDataParallel)
    return {
        "changed": changed,
        "weights": weigh(state),
        "unsent": sorted(state.module.parameters_to_ignore),
    }


def _talk(collective: Collective) -> Report:
    def fail() -> None:
        raise PhirayError(f"rank {collective.rank} failed")

    def fail_apart() -> None:
        own = PhirayError(f"rank {collective.rank} failed") if collective.rank in (1, 3) else None
        raise_together(collective, own)

    return {
        "sum": float(collective.sum_(torch.tensor(float(collective.rank)))),
        "gather": collective.gather(collective.rank),
        "broadcast": collective.broadcast(collective.rank),
        "first": run_on_first(collective, lambda: f"rank {collective.rank}"),
        "first fails": _message(lambda: run_on_first(collective, fail)),
        "some fail": _message(fail_apart),
    }


def _poison(collective: Collective) -> Report:
    """One worker's row has a weight that is not a number: no worker may update."""
    state = fresh_state(collective)
    before = weigh(state)
    parts = split_rows(step_row_ids(0), rank=collective.rank, world=WORLD, accumulation=1)
    batch = build_batch(parts[0])
    if collective.rank == POISONED_RANK:
        batch["loss_weights"][0] = torch.inf
    message = _message(lambda: _step(state, batch, collective=collective))
    return {"message": message, "unchanged": weigh(state) == before}


def _step_without_labels(collective: Collective) -> None:
    batch = build_batch([1, 2])
    batch["labels"].fill_(IGNORE_INDEX)
    _step(fresh_state(collective), batch, collective=collective)


def _step(state: TrainState, batch: object, *, collective: Collective) -> None:
    train_step(
        state.module,
        state.optimizer,
        micro_batches=[batch],  # type: ignore[list-item]  # a Batch, closed over by a lambda
        step=0,
        settings=step_settings(),
        collective=collective,
    )


def _resume(run_dir: Path, collective: Collective) -> list[object]:
    """Train until the data ends, one step after a checkpoint, and then to the last step."""
    ended = _message(lambda: train(run_dir, collective=collective, end=3))
    assert "ended before step 4" in ended, ended
    return _losses(run_dir, collective)


def _hear(run_dir: Path, collective: Collective) -> Report:
    """Train while the clock of one worker says, at steps 2 and 4, that it is time to ask."""
    steps, asked = iter(range(1, 7)), []
    now = 0

    def is_time(_: Notices) -> bool:
        nonlocal now
        now = next(steps)
        return collective.rank == POISONED_RANK and now in (2, 4)

    def ask() -> Notice:
        asked.append(now)
        is_late = collective.rank > 0 and now == 4  # a clock that differs: no last call on rank 0
        return Notice("node a", 0.0 if is_late else None)

    training = build_settings().training.model_copy(update={"checkpoint_every_steps": 50})
    with patch.object(Notices, "is_time", is_time):
        train(
            run_dir,
            collective=collective,
            settings=replace(build_settings(), training=training),
            ask_notice=ask,
        )
    events = [json.loads(line) for line in (run_dir / EVENTS_NAME).read_text().splitlines()]
    answered = [event["step"] for event in events if event["event"] == "notice answered"]
    return {"asked": asked, "answered": answered}


def _losses(run_dir: Path, collective: Collective) -> list[object]:
    """Train to the last step; return losses and a sum of the weights."""
    state, _ = train(run_dir, collective=collective)
    losses = [record["train/loss_nats_per_token"] for record in read_metrics(run_dir)]
    return [losses, weigh(state)]


def _message(function: Callable[[], object]) -> str:
    try:
        function()
    except PhirayError as error:
        return f"{int(error.exit_code)}: {error.message}"
    return "no error"
