"""The loop of all stages: takes steps of batches, updates, counts, logs, commits.

A worker of any stage does:

    collective = current_collective()                                   # training.collective
    state = build_state(objective, training=..., collective=collective, device=device)   # .state
    files = open_run(run_dir, texts, collective=collective)             # .run_files; fences others
    resume(state, files, collective=collective)                         # state.step: where to begin
    result = run_loop(state, steps_from(state.step), settings=LoopSettings(...), files=files,
                      collective=collective, on_checkpoint=...)

Source: the division into step and loop of lightning's and torchtitan's trainers.
Limits: knows neither Ray nor a data set or model class; all workers must call it together.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from phiray.batch import StepInput
from phiray.checkpoints.commit import commit_frozen
from phiray.config.training import TrainingConfig
from phiray.errors import DataError, PhirayError
from phiray.models.interface import TokenModel, as_token_model
from phiray.training.collective import Collective, raise_together, run_on_first, sum_numbers
from phiray.training.metrics_log import Metrics, MetricsLog, log_event, measure_step
from phiray.training.notices import AskNotice, Notices
from phiray.training.optimizer import set_learning_rate
from phiray.training.quarantine import (
    append_quarantine,
    bad_row_metrics,
    check_bad_rows,
    restore_quarantine,
)
from phiray.training.run_files import RunFiles, write_checkpoint
from phiray.training.schedule import learning_rate_at
from phiray.training.state import TrainState, frozen_tensors
from phiray.training.step import StepResult, StepSettings, seed_step, settle_buckets, train_step
from phiray.types import BadRow

VALIDATION_METRIC = "validation/loss_nats_per_token"

Validate = Callable[[TokenModel], float]
"""Measures a model on rows that it does not train on; called on every worker."""

OnCheckpoint = Callable[[int, Path, Metrics], None]
"""Told of each checkpoint that was due, on every worker: step, folder, the last step's metrics."""

OnStep = Callable[[Metrics], None]
"""Told of each step's metrics, on the first worker."""


@dataclass(frozen=True)
class LoopSettings:
    """What the loop must know beside the optimisation."""

    training: TrainingConfig
    device: torch.device
    seed: int
    num_rows: int
    """Rows of the data set."""
    rows_per_epoch: int
    """As many as that, or by the weights of its sources fewer or more."""
    max_bad_fraction: float
    """Share (0..1) of the rows that may be unreadable before the run stops."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; the last one may be short."""
        return -(-self.rows_per_epoch // self.training.global_batch_size)


@dataclass(frozen=True)
class LoopResult:
    """How a run ended."""

    step: int
    """Optimizer steps done."""
    checkpoint: Path | None
    """The newest one that this call committed; none if there was nothing left to do."""


def run_loop(
    state: TrainState,
    steps: Iterator[StepInput],
    *,
    settings: LoopSettings,
    files: RunFiles,
    collective: Collective,
    validate: Validate | None = None,
    on_checkpoint: OnCheckpoint | None = None,
    on_step: OnStep | None = None,
    ask_notice: AskNotice | None = None,
) -> LoopResult:
    """Train from `state.step` to `training.max_steps`.

    Args:
        state: at the step to begin with; changed in place.
        steps: this worker's input of each remaining step, in order.
        settings: optimisation, device, size of the data.
        files: where to write.
        collective: the workers.
        validate: asked before each checkpoint; its figure stands in that step's metrics.
        on_checkpoint: told of each committed checkpoint.
        on_step: told of each step.
        ask_notice: asked every few seconds; a notice is answered by a checkpoint after the step
            in hand, and by another just before the machines go. Training goes on.

    Raises:
        DataError: if too many rows are unreadable, a step has no label, or the data ends early.
        CheckpointError: if a checkpoint cannot be written (74), or a newer attempt has begun.
        PhirayError: if loss or gradient is not finite.
    """
    run = _Run(
        state,
        settings,
        files=files,
        collective=collective,
        validate=validate,
        on_checkpoint=on_checkpoint,
        on_step=on_step,
        ask_notice=ask_notice,
    )
    try:
        return run.train(steps)
    finally:
        run.close()


class _Run:
    """One call of `run_loop`: what all of its parts need."""

    def __init__(
        self,
        state: TrainState,
        settings: LoopSettings,
        *,
        files: RunFiles,
        collective: Collective,
        validate: Validate | None,
        on_checkpoint: OnCheckpoint | None,
        on_step: OnStep | None,
        ask_notice: AskNotice | None,
    ) -> None:
        self._state = state
        self._settings = settings
        self._training = settings.training
        self._files = files
        self._collective = collective
        self._validate = validate
        self._on_checkpoint = on_checkpoint
        self._on_step = on_step
        self._notices = Notices(ask_notice)
        self._is_time_to_ask = False
        self._step_settings = StepSettings(
            max_grad_norm=settings.training.max_grad_norm,
            precision=settings.training.precision,
            device=settings.device,
        )
        self._log: MetricsLog | None = None
        self._log_error: PhirayError | None = None
        self._checkpoint: Path | None = None
        self._metrics: Metrics = {}
        pids = collective.gather(os.getpid())
        self._bad_reasons = run_on_first(collective, lambda: self._open_files(pids))

    def train(self, steps: Iterator[StepInput]) -> LoopResult:
        while self._state.step < self._training.max_steps:
            started = time.perf_counter()
            step_input = self._next_input(steps)
            waited_seconds = time.perf_counter() - started
            result = self._update(step_input)
            seconds = time.perf_counter() - started
            self._record(result, step_input, seconds=seconds, waited_seconds=waited_seconds)
            notice = self._take_notice()
            if self._is_due() or notice is not None:
                self._commit(notice)
        return self._end()

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _is_due(self) -> bool:
        """Tell whether a checkpoint belongs behind the step that was made."""
        step, training = self._state.step, self._training
        return step % training.checkpoint_every_steps == 0 or step == training.max_steps

    def _take_notice(self) -> str | None:
        """Ask, where all workers have agreed to, for a notice to answer; the same on all."""
        return self._collective.broadcast(self._notices.take()) if self._is_time_to_ask else None

    def _open_files(self, pids: list[int]) -> dict[int, str]:
        step, run_dir = self._state.step, self._files.run_dir
        commit_frozen(run_dir, frozen_tensors(self._state.model))
        bad_reasons = restore_quarantine(run_dir, step=step)
        self._log = MetricsLog(run_dir, resume_step=step)
        log_event(
            run_dir,
            "resume" if step else "start",
            attempt=self._files.attempt,
            step=step,
            replayed_steps=self._log.num_replayed_steps,
            pids=pids,
        )
        return bad_reasons

    def _next_input(self, steps: Iterator[StepInput]) -> StepInput:
        """Take the next step's input; where one worker fails, all do.

        The sum by which they hear of that also says whether it is time to ask for notices: their
        clocks differ, and all must ask after the same step.
        """
        step_input, error = _take(steps, step=self._state.step)
        error = self._log_error or error
        bad_rows = step_input.bad_rows if step_input else []
        counts = [float(error is not None), float(len(bad_rows)), float(self._notices.is_time())]
        failed, bad, times = sum_numbers(self._collective, counts, device=self._settings.device)
        self._is_time_to_ask = times > 0
        if failed:
            raise_together(self._collective, error)
        if bad:
            self._quarantine(bad_rows)
        assert step_input is not None, "without an error there is input"
        return step_input

    def _quarantine(self, bad_rows: list[BadRow]) -> None:
        gathered = [row for rows in self._collective.gather(bad_rows) for row in rows]
        new = {row.row_id: row for row in gathered if row.row_id not in self._bad_reasons}
        self._bad_reasons |= {row_id: row.reason for row_id, row in new.items()}
        run_dir, step = self._files.run_dir, self._state.step + 1
        rows = list(new.values())
        run_on_first(self._collective, lambda: append_quarantine(run_dir, rows, step=step))
        check_bad_rows(
            self._bad_reasons,
            num_rows=self._settings.num_rows,
            max_bad_fraction=self._settings.max_bad_fraction,
            run_dir=run_dir,
        )

    def _update(self, step_input: StepInput) -> StepResult:
        state, seed = self._state, self._settings.seed
        if not self._metrics:
            seed_step(seed, step=state.step, rank=self._collective.rank)
            settle_buckets(
                state.module,
                state.optimizer,
                micro_batches=step_input.micro_batches,
                step=state.step,
                settings=self._step_settings,
                collective=self._collective,
            )
        seed_step(seed, step=state.step, rank=self._collective.rank)
        set_learning_rate(state.optimizer, learning_rate_at(self._training, state.step))
        result = train_step(
            state.module,
            state.optimizer,
            micro_batches=step_input.micro_batches,
            step=state.step,
            settings=self._step_settings,
            collective=self._collective,
        )
        state.step += 1
        return result

    def _record(
        self,
        result: StepResult,
        step_input: StepInput,
        *,
        seconds: float,
        waited_seconds: float,
    ) -> None:
        step = self._state.step
        self._metrics = {
            "step": step,
            "epoch": (step - 1) // self._settings.steps_per_epoch,
            "learning_rate": learning_rate_at(self._training, step - 1),
            "bad_rows": len(self._bad_reasons),
            **bad_row_metrics(self._bad_reasons),
            **measure_step(result, seconds=seconds, waited_seconds=waited_seconds),
        }
        if self._validate is not None and self._is_due():
            self._metrics[VALIDATION_METRIC] = self._validate(as_token_model(self._state.model))
        row_ids = self._gather_row_ids(step_input) if self._training.log_row_ids else None
        try:
            self._write_record(row_ids)
        except PhirayError as error:
            # Only rank 0 writes; raised here, it would leave the others waiting. They hear of it
            # when they next meet: at the next input, or at the checkpoint.
            self._log_error = error

    def _write_record(self, row_ids: list[int] | None) -> None:
        if self._log is not None:
            self._log.write(self._metrics | ({"row_ids": row_ids} if row_ids is not None else {}))
            if self._on_step is not None:
                self._on_step(self._metrics)

    def _gather_row_ids(self, step_input: StepInput) -> list[int]:
        """List the rows that were learnt from, over all workers, fillers and bad rows apart."""
        own: list[int] = []
        for batch in step_input.micro_batches:
            own += batch["row_ids"][batch["loss_weights"] > 0].tolist()
        return [row_id for ids in self._collective.gather(own) for row_id in ids]

    def _commit(self, notice: str | None) -> None:
        self._checkpoint = run_on_first(self._collective, lambda: self._write_checkpoint(notice))
        if self._on_checkpoint is not None and self._is_due():
            self._on_checkpoint(self._state.step, self._checkpoint, dict(self._metrics))

    def _write_checkpoint(self, notice: str | None) -> Path:
        if self._log_error is not None:
            raise self._log_error
        settings, step = self._settings, self._state.step
        run_dir, facts = self._files.run_dir, {"attempt": self._files.attempt, "step": step}
        if notice is not None:
            log_event(run_dir, "notice", **facts, notice=notice)
        log_event(run_dir, "checkpoint", **facts)
        position: dict[str, object] = {
            "step": step,
            "epoch": step // settings.steps_per_epoch,
            "seed": settings.seed,
            "global_batch_size": self._training.global_batch_size,
            "num_rows": settings.num_rows,
            "world_size": self._collective.world_size,
        }
        keep = self._training.keep_checkpoints
        path = write_checkpoint(self._state, self._files, position=position, keep=keep)
        if notice is not None:
            log_event(run_dir, "notice answered", **facts, notice=notice)
        return path

    def _end(self) -> LoopResult:
        step = self._state.step
        if self._collective.rank == 0:
            log_event(self._files.run_dir, "end", attempt=self._files.attempt, step=step)
        return LoopResult(step=step, checkpoint=self._checkpoint)


def _take(steps: Iterator[StepInput], *, step: int) -> tuple[StepInput | None, PhirayError | None]:
    try:
        return next(steps), None
    except StopIteration:
        return None, DataError(
            f"The data ended before step {step + 1}. Expected input for every step up to "
            "training.max_steps. This is a fault of the pipeline: report it."
        )
    except PhirayError as error:
        return None, error
