"""Show what a job on a cluster prints, line by line, and notice when nothing comes any more.

Source: the Jobs API sends a job's output from its start on each connection.
Limits: who has nothing to print for a minute is asked for all of it again.
"""

import asyncio
from collections.abc import AsyncIterator

from phiray.jobs.display import Display

SILENT_SECONDS = 60.0
"""A connection without a line for so long is given up: one through a tunnel that hangs, or of a
laptop that slept, never ends by itself. A run that trains or waits says more twice as often."""


class JobOutput:
    """Shows a job's output line by line; on another connection, what came before is passed over."""

    def __init__(self, display: Display) -> None:
        """Show nothing yet."""
        self._display = display
        self.num_lines = 0

    async def show(self, chunks: AsyncIterator[str]) -> bool:
        """Show the output from its start on; it comes in chunks that may end within a line.

        Returns:
            Whether it came to its end; False once nothing came for SILENT_SECONDS.
        """
        rest, seen = "", 0
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                return False
            if chunk is None:
                break
            *lines, rest = f"{rest}{chunk}".split("\n")
            for line in lines:
                seen += 1
                self._show_line(line, number=seen)
        if rest:
            self._show_line(rest, number=seen + 1)
        return True

    def _show_line(self, line: str, *, number: int) -> None:
        if number > self.num_lines:
            self.num_lines = number
            self._display.note(line)
