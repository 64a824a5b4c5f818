"""What long work tells the person who waits for it.

Limits: the protocol alone; its two forms are in `phiray/terminal.py`.
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
