"""What long work tells the person who waits for it.

Limits: the protocol and a silent form; the forms that people see are in `phiray/terminal.py`.
"""

from typing import Protocol

from phiray.training.metrics_log import Record


class Display(Protocol):
    """Told of everything that takes over two seconds."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Show how far `description` is; `done == total` ends it."""

    def note(self, text: str) -> None:
        """Show one line that stays."""

    def step(self, run: str, record: Record, max_steps: int) -> None:
        """Show a training step of the run: loss, speed, data wait, time left."""


class SilentDisplay:
    """Shows nothing: for tests and `--json`."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def step(self, run: str, record: Record, max_steps: int) -> None:
        """Do nothing."""
