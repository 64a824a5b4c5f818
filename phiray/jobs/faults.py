"""What no new start mends, kept for the driver across the workers that Ray starts anew.

Limits: one per start of a run; the file stays in the run's folder for whoever looks into it.
"""

import json
from pathlib import Path

from phiray.checkpoints.files import write_json
from phiray.jobs.payload import WorkerPayload

FAULT_NAME = "fault.json"


def write_fault(payload: WorkerPayload, outcome: dict[str, object]) -> None:
    """Keep how this start of the run ended: what `train_worker` returns of it."""
    record = {"start": payload["start"], "outcome": outcome}
    write_json(Path(payload["run_dir"]) / FAULT_NAME, record)


def read_fault(payload: WorkerPayload) -> dict[str, object] | None:
    """Return the outcome that a worker of this start left; None without one."""
    path = Path(payload["run_dir"]) / FAULT_NAME
    if not path.exists():
        return None
    fault = json.loads(path.read_text(encoding="utf-8"))
    return dict(fault["outcome"]) if fault["start"] == payload["start"] else None
