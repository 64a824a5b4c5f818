"""Follow a run's metrics while Ray trains it elsewhere, and show each step.

Limits: reads a file that is appended to; a shortened file (a resumed run) is read anew.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phiray.jobs.display import Display
from phiray.training.metrics_log import METRICS_NAME, Record

_SECONDS_BETWEEN_LOOKS = 0.5


class _Tail:
    """Remembers how far the file was read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = file.stat().st_size if file.exists() else 0

    def new_records(self) -> list[Record]:
        """Return the complete lines that came since the last call."""
        if not self._file.exists():
            return []
        size = self._file.stat().st_size
        if size < self._offset:
            self._offset = size
        with self._file.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        return [json.loads(line) for line in complete.splitlines() if line]


@contextmanager
def shown_steps(run_dir: Path, *, display: Display, max_steps: int) -> Iterator[None]:
    """Show the run's steps for as long as the block runs."""
    tail, done = _Tail(run_dir / METRICS_NAME), threading.Event()

    def show() -> None:
        for record in tail.new_records():
            display.step(run_dir.name, record, max_steps)

    def follow() -> None:
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            show()

    thread = threading.Thread(target=follow, name="phiray-tail", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        show()
