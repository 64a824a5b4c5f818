"""Show long work on a terminal: bars where lines can be redrawn, sparse plain lines elsewhere.

    with build_display() as display: display.progress("decoding", 3, 10)

Limits: writes to standard error, which leaves standard output to results. Knows nothing of phiray
but the names of a step's metrics.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

Record = Mapping[str, float | list[int]]
"""One training step's metrics, as metrics.jsonl holds them."""

SILENT_SECONDS = 2.0
"""Work shorter than this says nothing in plain lines."""
SECONDS_BETWEEN_LINES = 10.0
"""A log file of a long run stays readable."""
_STARTING = "starting"
_LOSS = "train/loss_nats_per_token"
_SMOOTHING = 0.9
"""Share of the past in the mean time of a step."""


@dataclass
class _Speed:
    """Time per unit of one piece of work, for the time left."""

    started: float = field(default_factory=lambda: time.monotonic())
    done_before: int = 0
    """What was done when it started: a download that goes on did not fetch that in no time."""
    shown: float | None = None
    mean_step_seconds: float | None = None

    def add_step(self, seconds: float) -> None:
        """Take in the time of one training step."""
        mean = self.mean_step_seconds
        self.mean_step_seconds = (
            seconds if mean is None else _SMOOTHING * mean + (1 - _SMOOTHING) * seconds
        )

    def is_due(self, *, wait_seconds: float) -> bool:
        """Say whether a line may be written, and remember that it was."""
        now = time.monotonic()
        if now - (self.shown or self.started) < wait_seconds:
            return False
        self.shown = now
        return True


class LiveDisplay:
    """Bars that are redrawn in place and vanish; each finished training run leaves a line."""

    def __init__(self, console: Console) -> None:
        """Draw on `console`, from `__enter__` to `__exit__`."""
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._speeds: dict[str, _Speed] = {}

    def __enter__(self) -> Self:
        """Begin to draw; until there is something to show, modules are loading."""
        self._bars.start()
        self._tasks[_STARTING] = self._bars.add_task(_STARTING, total=None, detail="")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the bars away, so that an error or a result stands alone."""
        self._bars.stop()

    def progress(self, description: str, done: int, total: int) -> None:
        """Show how far `description` is; the bar goes when it is done."""
        speed = self._speeds.setdefault(description, _Speed(done_before=done))
        self._draw(description, done, total, detail=_time_left_of_work(speed, done, total))

    def note(self, text: str) -> None:
        """Show one line that stays."""
        self._console.print(text, markup=False, highlight=False)

    def step(self, run: str, record: Record, max_steps: int) -> None:
        """Show a training step of the run."""
        speed = self._speeds.setdefault(run, _Speed())
        speed.add_step(_number(record, "step_seconds"))
        done = int(_number(record, "step"))
        self._draw(run, done, max_steps, detail=_detail(record, speed, max_steps - done))
        if done == max_steps:
            self.note(f"{run}: {done} steps, {_detail(record, speed, 0)}")

    def _draw(self, name: str, done: int, total: int, *, detail: str) -> None:
        if _STARTING in self._tasks:
            self._bars.remove_task(self._tasks.pop(_STARTING))
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, detail=detail)
        self._bars.update(self._tasks[name], completed=done, total=total, detail=detail)
        if done >= total:
            self._bars.remove_task(self._tasks.pop(name))
            self._speeds.pop(name)


class LineDisplay:
    """Plain lines, seldom: for log files, pipes and CI."""

    def __init__(self, console: Console) -> None:
        """Write to `console`."""
        self._console = console
        self._speeds: dict[str, _Speed] = {}

    def __enter__(self) -> Self:
        """Say that something has begun: modules take seconds to load."""
        self.note(_STARTING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Say how far `description` is, once it has taken two seconds."""
        speed = self._speeds.setdefault(description, _Speed(done_before=done))
        wait = SILENT_SECONDS if speed.shown is None else SECONDS_BETWEEN_LINES
        if speed.is_due(wait_seconds=wait) or (done >= total and speed.shown is not None):
            left = _time_left_of_work(speed, done, total)
            self.note(f"{description}: {done}/{total}  {left}".rstrip())
        if done >= total:
            self._speeds.pop(description)

    def note(self, text: str) -> None:
        """Write one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def step(self, run: str, record: Record, max_steps: int) -> None:
        """Say how a training run goes: its first step, its last, and some between."""
        is_new = run not in self._speeds
        speed = self._speeds.setdefault(run, _Speed())
        speed.add_step(_number(record, "step_seconds"))
        done = int(_number(record, "step"))
        if is_new or done == max_steps or speed.is_due(wait_seconds=SECONDS_BETWEEN_LINES):
            self.note(f"{run}: step {done}/{max_steps}  {_detail(record, speed, max_steps - done)}")
        if done == max_steps:
            self._speeds.pop(run)


def build_display() -> LiveDisplay | LineDisplay:
    """Return the display that fits standard error."""
    console = Console(stderr=True)
    return LiveDisplay(console) if console.is_terminal else LineDisplay(console)


def format_seconds(seconds: float) -> str:
    """Write a duration as people read it: `0:07`, `12:30`, `3:02:11`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _detail(record: Record, speed: _Speed, steps_left: int) -> str:
    """Write loss, speed, share of time spent waiting for data, and time left."""
    seconds = _number(record, "step_seconds")
    waited = _number(record, "data_wait_seconds") / seconds if seconds > 0 else 0.0
    parts = [
        f"loss {_number(record, _LOSS):.3f}" if _LOSS in record else "no row could be read",
        f"{_number(record, 'tokens_per_second'):,.0f} tokens/s",
        f"{_number(record, 'samples_per_second'):,.0f} rows/s",
        f"{min(waited, 1.0):.0%} waiting for data",
    ]
    if steps_left:
        parts.append(f"{format_seconds(steps_left * (speed.mean_step_seconds or 0.0))} left")
    return "  ".join(parts)


def _time_left_of_work(speed: _Speed, done: int, total: int) -> str:
    elapsed = time.monotonic() - speed.started
    new = done - speed.done_before
    if not 0 < new <= done < total or elapsed < SILENT_SECONDS:
        return ""
    return f"{format_seconds(elapsed / new * (total - done))} left"


def _number(record: Record, name: str) -> float:
    value = record[name]
    assert isinstance(value, int | float)
    return float(value)
