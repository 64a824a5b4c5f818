"""One optimizer step over all workers and micro-batches.

    train_step(module, optimizer, *, micro_batches, step, settings, collective) -> StepResult
    settle_buckets(module, optimizer, ...)      # before the first step of a process
    seed_step(seed, *, step, rank)              # before every step
    StepSettings(max_grad_norm, precision, device)

The gradient is that of (sum of losses over all workers and micro-batches) / (all label tokens), so
1 worker x 4 micro-batches, 4 x 1 and 2 x 2 make the same update.

Source: torch DistributedDataParallel, which averages over workers: hence the factor world_size.
Limits: fp32, or bf16 autocast with fp32 weights; no loss scaling, so no fp16.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from phiray.batch import Batch, move_batch
from phiray.errors import DataError, ExitCode, PhirayError
from phiray.training.collective import Collective, sum_numbers
from phiray.training.objective import Objective, ObjectiveSums, count_labels
from phiray.training.parallel import gradient_sync, unwrap_objective


@dataclass(frozen=True)
class StepSettings:
    """How a step computes."""

    max_grad_norm: float
    precision: Literal["fp32", "bf16"]
    device: torch.device


@dataclass(frozen=True)
class StepResult:
    """What a step found, the same on all workers."""

    loss_nats_per_token: float
    """Cross entropy per label token, before the update; NaN where no row could be read."""
    grad_norm: float
    """Before clipping."""
    num_label_tokens: int
    num_rows: int
    """Rows of the data, fillers and unreadable ones apart."""
    balance: float
    """Mean over rows of the router's balance term; 0 for a dense model."""
    z: float
    """Mean over rows of the router's z term; 0 for a dense model."""
    gold_probability: float
    """Probability (0..1) of a gold input token; 1 for `standard`."""
    num_replaced_tokens: int
    """Input tokens that the model filled itself."""


def train_step(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    micro_batches: list[Batch],
    step: int,
    settings: StepSettings,
    collective: Collective,
) -> StepResult:
    """Make one update; every worker calls it with as many micro-batches.

    Args:
        module: an `Objective`, wrapped by `wrap_objective`.
        optimizer: over its trainable parameters.
        micro_batches: of this worker, on the CPU.
        step: optimizer steps done before this one.
        settings: device, precision, clipping.
        collective: the workers.

    Raises:
        DataError: if no worker has a label token, though rows could be read. Where none could, the
            step makes no update: its rows are counted as bad, and positions stay as they are.
        PhirayError: if loss or gradient is not finite; nothing was updated.
    """
    labels = float(sum(count_labels(batch) for batch in micro_batches))
    num_label_tokens = sum_numbers(collective, [labels], device=settings.device)[0]
    if num_label_tokens == 0:
        if _is_unreadable(micro_batches, settings=settings, collective=collective):
            return _skipped(unwrap_objective(module).gold_probability(step))
        raise DataError(
            f"no label tokens in step {step + 1}: every row of its {len(micro_batches)} "
            "micro-batches on every worker is without a label. Expected at least one token to "
            "learn. Check the data with `phiray data check`."
        )
    optimizer.zero_grad(set_to_none=True)
    # DDP divides by the number of workers; here the sum over them is wanted
    scale = collective.world_size / num_label_tokens
    sums = _accumulate(module, micro_batches, step=step, scale=scale, settings=settings)
    totals = _total(sums, settings=settings, collective=collective)
    grad_norm = float(_clip(module, settings.max_grad_norm))
    if not (math.isfinite(totals.loss_sum) and math.isfinite(grad_norm)):
        raise _non_finite_error(
            sums, micro_batches, step=step, grad_norm=grad_norm, collective=collective
        )
    optimizer.step()
    _update_router_bias(unwrap_objective(module), sums, collective=collective)
    return StepResult(
        loss_nats_per_token=totals.token_loss_sum / num_label_tokens,
        grad_norm=grad_norm,
        num_label_tokens=int(num_label_tokens),
        num_rows=int(totals.num_real_rows),
        balance=totals.balance_sum / max(1.0, totals.num_real_rows),
        z=totals.z_sum / max(1.0, totals.num_real_rows),
        gold_probability=unwrap_objective(module).gold_probability(step),
        num_replaced_tokens=int(totals.num_replaced_tokens),
    )


def _is_unreadable(
    micro_batches: list[Batch], *, settings: StepSettings, collective: Collective
) -> bool:
    """Say whether no row of the step could be read on any worker; all of them learn of it."""
    own = float(sum(int((batch["loss_weights"] > 0).sum()) for batch in micro_batches))
    return sum_numbers(collective, [own], device=settings.device)[0] == 0


def _skipped(gold_probability: float) -> StepResult:
    return StepResult(
        loss_nats_per_token=math.nan,
        grad_norm=math.nan,
        num_label_tokens=0,
        num_rows=0,
        balance=0.0,
        z=0.0,
        gold_probability=gold_probability,
        num_replaced_tokens=0,
    )


def settle_buckets(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    micro_batches: list[Batch],
    step: int,
    settings: StepSettings,
    collective: Collective,
) -> None:
    """Make DDP take its final layout of gradients before the first step of a process.

    DDP regroups gradients after its first backward. With three workers or more, the order in which
    a ring adds up depends on the layout, so a resumed run would differ in the last bit at its first
    step. One backward that updates nothing puts every process into the same layout.
    """
    if collective.world_size > 2:  # two numbers have the same sum in either order
        _accumulate(module, micro_batches[-1:], step=step, scale=1.0, settings=settings)
        optimizer.zero_grad(set_to_none=True)


def seed_step(seed: int, *, step: int, rank: int) -> None:
    """Seed torch for one step: a pure function of its place, so no generator needs to be saved."""
    # hashed, since torch's generator on the CPU looks at the lowest 32 bits alone
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)
    torch.manual_seed(int(mixed[0]))


@dataclass(frozen=True)
class _Totals:
    """The sums of a step over all workers, in float64."""

    loss_sum: float
    token_loss_sum: float
    balance_sum: float
    z_sum: float
    num_real_rows: float
    num_replaced_tokens: float


def _accumulate(
    module: nn.Module,
    micro_batches: list[Batch],
    *,
    step: int,
    scale: float,
    settings: StepSettings,
) -> list[ObjectiveSums]:
    sums: list[ObjectiveSums] = []
    for index, batch in enumerate(micro_batches):
        is_last = index == len(micro_batches) - 1
        with gradient_sync(module, is_wanted=is_last), autocast(settings):
            found: ObjectiveSums = module(move_batch(batch, settings.device), step)
        with gradient_sync(module, is_wanted=is_last):
            (found.loss_sum * scale).backward()  # type: ignore[no-untyped-call]  # torch's own
        sums.append(found)
    return sums


def autocast(settings: StepSettings) -> AbstractContextManager[None]:
    """Run products in the precision of the settings."""
    if settings.precision == "bf16":
        return torch.autocast(settings.device.type, dtype=torch.bfloat16)
    return nullcontext()


def _total(sums: list[ObjectiveSums], *, settings: StepSettings, collective: Collective) -> _Totals:
    columns = [
        torch.stack(
            [
                found.loss_sum.detach(),
                found.token_loss_sum,
                found.balance_sum,
                found.z_sum,
                found.num_real_rows,
                found.num_replaced_tokens,
            ]
        ).double()  # (6,)
        for found in sums
    ]
    local: list[float] = torch.stack(columns).sum(0).tolist()
    return _Totals(*sum_numbers(collective, local, device=settings.device))


def _clip(module: nn.Module, max_grad_norm: float) -> Tensor:
    parameters = [p for p in module.parameters() if p.grad is not None]
    return nn.utils.clip_grad_norm_(parameters, max_grad_norm)


def _update_router_bias(
    objective: Objective, sums: list[ObjectiveSums], *, collective: Collective
) -> None:
    counts = [found.expert_counts for found in sums if found.expert_counts is not None]
    if objective.balances_by_bias and counts:
        total = torch.stack(counts).sum(0)  # (layers, experts)
        objective.update_router_bias(collective.sum_(total))


def _non_finite_error(
    sums: list[ObjectiveSums],
    micro_batches: list[Batch],
    *,
    step: int,
    grad_norm: float,
    collective: Collective,
) -> PhirayError:
    row_ids = [batch["row_ids"].tolist() for batch in micro_batches]
    bad = [
        ids
        for found, ids in zip(sums, row_ids, strict=True)
        if not bool(torch.isfinite(found.loss_sum))
    ]
    found_by_rank = collective.gather((bad, row_ids))
    places = [f"worker {rank}, rows {bad}" for rank, (bad, _) in enumerate(found_by_rank) if bad]
    if places:
        what = "the loss is not finite on " + "; ".join(places)
    else:
        rows = "; ".join(
            f"worker {rank}, rows {ids}" for rank, (_, ids) in enumerate(found_by_rank)
        )
        what = f"the gradient's norm is {grad_norm}, with finite losses, from {rows}"
    return PhirayError(
        f"Step {step + 1} stopped before its update: {what}. Expected finite numbers. Look at "
        "those rows, or lower training.learning_rate; the newest checkpoint is intact, go on from "
        "it with --resume.",
        exit_code=ExitCode.BAD_DATA,
    )
