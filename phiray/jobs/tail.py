"""Follow a run's files while Ray trains it elsewhere, and show each step and each restart.

Limits: reads a file that is appended to; one that a resumed run has cut back is read anew, and
only lines that were not there before are shown.
"""

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phiray.jobs.beside import beside
from phiray.jobs.display import Display
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME

_SECONDS_BETWEEN_LOOKS = 0.5
_SILENT_SECONDS = 2.0
"""A checkpoint that is written faster is not told of."""


class _Tail:
    """Remembers how far the file was read, and which lines it held."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode, self._offset = 0, 0
        self._seen: set[int] = set()
        self._new_lines()  # those of an earlier start are no news

    # Any: JSON of two files; each caller knows the keys of its own.
    def new_records(self) -> list[dict[str, Any]]:
        """Return the complete lines that came since the last call.

        A full disk may have torn one, and the next may have been written behind it.
        """
        records = []
        for line in self._new_lines():
            with suppress(ValueError):
                records.append(json.loads(line))
        return records

    def _new_lines(self) -> list[bytes]:
        try:
            file = self._file.open("rb")
        except FileNotFoundError:
            return []
        with file:
            status = os.fstat(file.fileno())
            # Cutting back writes a new file, which may already have outgrown the old one.
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, 0
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        lines = [line for line in complete.splitlines() if hash(line) not in self._seen]
        self._seen.update(hash(line) for line in lines)
        return lines


@contextmanager
def shown_steps(run_dir: Path, *, display: Display, max_steps: int) -> Iterator[None]:
    """Show the run's steps for as long as the block runs."""
    metrics, events = _Tail(run_dir / METRICS_NAME), _Tail(run_dir / EVENTS_NAME)
    story = _Story(run_dir.name)

    def show() -> None:
        notes = [story.describe(event) for event in events.new_records()]
        records = metrics.new_records()
        for note in [*notes, story.describe_writing(records)]:
            if note is not None:
                display.note(note)
        for record in records:
            display.step(run_dir.name, record, max_steps)

    def follow(done: threading.Event) -> None:
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            show()

    try:
        with beside(follow, name="tail"):
            yield
    finally:
        show()


class _Story:
    """Says of each event what a person should know."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._count = 0
        self._stop: str | None = None
        """What a worker last met, and told of itself; none for one that was killed."""
        self._notice: str | None = None
        """What was to be taken away since the workers last began."""
        self._writing: tuple[int, float] | None = None
        """Step of a checkpoint that is being written, and since when."""

    # Any: JSON of events.jsonl.
    def describe(self, event: dict[str, Any]) -> str | None:
        """Return the line to show; none for an event that is as expected."""
        self._writing = None
        match event["event"]:
            case "checkpoint":
                self._writing = (event["step"], time.monotonic())
            case "notice":
                self._notice = event["notice"]
            case "notice answered":
                return (
                    f"{self._run}: to be taken away: {event['notice']}; step {event['step']} is "
                    "committed, and training goes on"
                )
            case "set aside":
                names = ", ".join(event["names"])
                return f"{self._run}: broken checkpoints were set aside: {names}"
            case "no node cache":
                nodes = "; ".join(event["nodes"])
                return f"{self._run}: node_cache keeps nothing, the storage is read: {nodes}"
            case "stopped":
                self._stop = self._stop or event["error"]  # the others then miss the first
            case "start" | "resume":
                self._count += 1
                return self._describe_start(event)
        return None

    # Any: JSON of metrics.jsonl.
    def describe_writing(self, records: Sequence[dict[str, Any]]) -> str | None:
        """Say once that a checkpoint is being written, if that takes long: no step comes then."""
        if self._writing is None:
            return None
        step, since = self._writing
        if any(record["step"] > step for record in records):
            self._writing = None
            return None
        if time.monotonic() - since < _SILENT_SECONDS:
            return None
        self._writing = None
        return f"{self._run}: writing the checkpoint of step {step}"

    # Any: JSON of events.jsonl.
    def _describe_start(self, event: dict[str, Any]) -> str | None:
        step, replayed, attempt = event["step"], event["replayed_steps"], event["attempt"]
        stop, self._stop = self._stop, None
        notice, self._notice = self._notice, None
        if attempt == 1:
            return None
        where = f"from step {step}, with {replayed} steps to do again (attempt {attempt})"
        if self._count == 1:
            return f"{self._run}: goes on {where}"
        why = f"a worker stopped ({stop})" if stop else "a worker was lost"
        if notice and not stop:  # what stopped before its time counts as a failure
            why = f"taken away ({notice}), which is no failure"
        return f"{self._run}: {why}; going on {where}"
