"""A fault of phiray's own, kept for the driver across the workers that Ray starts anew.

Limits: one per start of a run; the file stays in the run's folder for whoever looks into it.
"""

import json
from pathlib import Path

from phiray.checkpoints.files import write_json
from phiray.jobs.payload import WorkerPayload

FAULT_NAME = "fault.json"


def write_fault(payload: WorkerPayload, text: str) -> None:
    """Keep the traceback of this start of the run."""
    write_json(Path(payload["run_dir"]) / FAULT_NAME, {"start": payload["start"], "text": text})


def read_fault(payload: WorkerPayload) -> str | None:
    """Return the traceback that a worker of this start left; None without one."""
    path = Path(payload["run_dir"]) / FAULT_NAME
    if not path.exists():
        return None
    fault = json.loads(path.read_text(encoding="utf-8"))
    return str(fault["text"]) if fault["start"] == payload["start"] else None
