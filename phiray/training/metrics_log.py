"""Write what each step measured: JSON lines and TensorBoard; and what befell the run: events.

    MetricsLog(run_dir, resume_step=...) .write(record) .close()     # rank 0 only
    log_event(run_dir, event, **facts)

Source: Ray drops metrics reported without a checkpoint, so phiray keeps its own.
Limits: one writer. A resumed run cuts the file back to its first step, so each step stands once.
"""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from phiray.checkpoints.files import error_from_write, write_text
from phiray.training.quarantine import read_json_lines
from phiray.training.step import StepResult

METRICS_NAME = "metrics.jsonl"
EVENTS_NAME = "events.jsonl"
TENSORBOARD_NAME = "tensorboard"
LOSS_METRIC = "train/loss_nats_per_token"

Record = Mapping[str, float | list[int]]
"""One step's metrics; `step` is the number of optimizer steps done, from 1."""


Metrics = dict[str, float]
"""The numbers of a record."""


def measure_step(result: StepResult, *, seconds: float, waited_seconds: float) -> Metrics:
    """Turn a step's result and times into metrics.

    Args:
        result: of the step.
        seconds: of the whole step, waiting for data included; rates are over these.
        waited_seconds: of them, waiting for data.
    """
    measured = {
        LOSS_METRIC: result.loss_nats_per_token,
        "grad_norm": result.grad_norm,
        "label_tokens": result.num_label_tokens,
        "rows": result.num_rows,
        "tokens_per_second": result.num_label_tokens / seconds,
        "samples_per_second": result.num_rows / seconds,
        "data_wait_seconds": waited_seconds,
        "step_seconds": seconds,
        "gold_probability": result.gold_probability,
        "replaced_tokens": result.num_replaced_tokens,
        "balance": result.balance,
        "router_z": result.z,
    }
    # a step of which no row could be read has neither loss nor gradient, and JSON has no NaN
    return {name: value for name, value in measured.items() if not math.isnan(value)}


class MetricsLog:
    """The metrics of one run, one line per step."""

    def __init__(self, run_dir: Path, *, resume_step: int) -> None:
        """Open the files and drop every step after `resume_step`: they will come again."""
        self._path = run_dir / METRICS_NAME
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self.num_replayed_steps = _cut_back(self._path, resume_step=resume_step)
            self._file = self._path.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(run_dir / TENSORBOARD_NAME), purge_step=resume_step + 1)
        except OSError as error:
            raise error_from_write(error, what="The metrics", path=self._path) from error

    def write(self, record: Record) -> None:
        """Append one step.

        Raises:
            CheckpointError: if the disk is full or the file cannot be written (74, 77).
        """
        try:
            self._file.write(json.dumps(dict(record), allow_nan=False) + "\n")
            self._file.flush()
            for name, value in record.items():
                if name != "step" and not isinstance(value, list):
                    self._board.add_scalar(name, value, record["step"])
        except OSError as error:
            raise error_from_write(error, what="The metrics", path=self._path) from error

    def close(self) -> None:
        """Flush and close both files."""
        self._file.close()
        self._board.close()


def log_event(run_dir: Path, event: str, **facts: int | str | list[int] | list[str]) -> None:
    """Append one event with its time.

    Such as start, resume, checkpoint (it begins), notice (a machine will be taken away), notice
    answered (its checkpoint is committed) or end.
    """
    path = run_dir / EVENTS_NAME
    line = json.dumps({"event": event, "unix_time_seconds": time.time(), **facts})
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise error_from_write(error, what="The events", path=path) from error


def read_metrics(run_dir: Path) -> list[dict[str, object]]:
    """Read the metrics of a run, oldest first; none if it has not begun."""
    path = run_dir / METRICS_NAME
    return read_json_lines(path) if path.exists() else []


def _cut_back(path: Path, *, resume_step: int) -> int:
    """Keep the steps up to `resume_step`; return how many were dropped."""
    if not path.exists():
        return 0
    records = read_json_lines(path)
    kept = [record for record in records if int(str(record["step"])) <= resume_step]
    write_text(path, "".join(json.dumps(record) + "\n" for record in kept))
    return len(records) - len(kept)
