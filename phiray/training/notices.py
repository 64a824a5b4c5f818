"""Ask, every few seconds, whether machines of the run are about to be taken away.

Source: spot machines go 30 s (Google Cloud) or 2 minutes (AWS) after a notice; Kubernetes gives a
pod 30 s.
Limits: knows no cluster: what it asks is given to it. A checkpoint that takes longer than what is
left of the notice is cut off, and the one before it stands.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

SECONDS_BETWEEN_ASKS = 2.0
"""To ask took two workers of one machine 2.3 ms (median), ten times a step's own sum."""
LAST_CALL_SECONDS = 10.0
"""What is done after the answer to a notice is lost with the machines, so there is a second answer
so long before they go."""


@dataclass(frozen=True)
class Notice:
    """Machines of the run are about to be taken away."""

    text: str
    """Which, for a person to read."""
    deadline: float | None
    """When they go, in Unix seconds; None if nobody knows."""


AskNotice = Callable[[], Notice | None]
"""Gives the newest notice; None if there is none. All workers call it after the same step."""


class Notices:
    """The notices that a run has not answered yet."""

    def __init__(self, ask: AskNotice | None) -> None:
        """Ask at once, and then every few seconds; never without `ask`."""
        self._ask = ask
        self._due = time.monotonic()
        self._taken: set[tuple[str, bool]] = set()

    def is_time(self) -> bool:
        """Tell whether this worker would ask; clocks differ, so the workers must agree on it."""
        return self._ask is not None and time.monotonic() >= self._due

    def take(self) -> str | None:
        """Ask, together with all workers, and return the text of a notice to answer now.

        Each is returned once when it is new, and once when the machines are about to go. By that
        workers whose clocks differ may return different things: that of the first one holds.
        """
        if self._ask is None:
            return None
        notice = self._ask()
        self._due = time.monotonic() + SECONDS_BETWEEN_ASKS
        if notice is None:
            return None
        is_last_call = notice.deadline is not None and (
            notice.deadline - time.time() <= LAST_CALL_SECONDS
        )
        if (notice.text, is_last_call) in self._taken:
            return None
        self._taken.add((notice.text, is_last_call))
        return notice.text
