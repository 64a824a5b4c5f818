from pathlib import Path

from phiray.jobs.faults import read_fault, write_fault
from phiray.jobs.payload import WorkerPayload


def payload(run_dir: Path, start: str) -> WorkerPayload:
    return {
        "config": {},
        "run_dir": str(run_dir),
        "manifest": "{}",
        "rows": "",
        "features": None,
        "start": start,
        "node": "here",
    }


def test_fault_is_known_to_its_own_start_only(tmp_path: Path) -> None:
    assert read_fault(payload(tmp_path, "first")) is None
    write_fault(payload(tmp_path, "first"), {"fault": "so it was"})
    assert read_fault(payload(tmp_path, "first")) == {"fault": "so it was"}
    assert read_fault(payload(tmp_path, "second")) is None
