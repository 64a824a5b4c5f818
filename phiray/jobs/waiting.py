"""Say what a run on a cluster waits for until its workers start: Ray itself waits without a word.

Limits: what a cluster may grow to is known to its autoscaler alone, so nothing is refused here.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from phiray.jobs.display import Display
from phiray.training.metrics_log import EVENTS_NAME

SECONDS_BETWEEN_NOTES = 30.0
_SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def told_of_waiting(run_dir: Path, needed: dict[str, float], *, display: Display) -> Iterator[None]:
    """Say every half a minute what is needed and what is there, until the run writes an event.

    Args:
        run_dir: of the run.
        needed: what its fewest workers reserve, by the name of Ray's resource.
        display: told of it.
    """
    events, done = run_dir / EVENTS_NAME, threading.Event()
    size = _size(events)

    def follow() -> None:
        due = time.monotonic() + SECONDS_BETWEEN_NOTES
        while not done.wait(_SECONDS_BETWEEN_LOOKS) and _size(events) == size:
            if time.monotonic() >= due:
                due += SECONDS_BETWEEN_NOTES
                display.note(f"{run_dir.name}: {describe_waiting(needed)}")

    thread = threading.Thread(target=follow, name="phiray-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def describe_waiting(needed: dict[str, float]) -> str:
    """Say in words what is needed, and what of it the cluster has."""
    found = ray.cluster_resources()
    parts = [
        f"{count:g} {kind}s, of which there are {found.get(kind, 0):g}"
        for kind, count in needed.items()
        if count
    ]
    return f"waiting for workers; they need {' and '.join(parts)}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
