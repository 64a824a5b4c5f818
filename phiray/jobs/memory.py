"""Peak memory of this process and all that it started, sampled beside the work.

Source: proportional set size (Linux smaps_rollup through psutil): shared pages count once.
Limits: samples, so a lower bound; elsewhere than on Linux the resident size, an upper bound.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from phiray.jobs.beside import beside

_SECONDS_BETWEEN_SAMPLES = 3.0


class PeakMemory:
    """The largest sum seen so far, in bytes."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.peak_bytes = 0

    def sample(self) -> None:
        """Look once."""
        self.peak_bytes = max(self.peak_bytes, tree_memory_bytes(psutil.Process()))


@contextmanager
def watch_memory() -> Iterator[PeakMemory]:
    """Sample while the block runs; read `peak_bytes` after it."""
    peak = PeakMemory()

    def watch(done: threading.Event) -> None:
        while not done.wait(_SECONDS_BETWEEN_SAMPLES):
            peak.sample()

    try:
        with beside(watch, name="memory"):
            yield peak
    finally:
        peak.sample()


def tree_memory_bytes(root: psutil.Process) -> int:
    """Return the memory of a process and of all below it; those that end meanwhile count 0."""
    return sum(_memory_bytes(process) for process in [root, *root.children(recursive=True)])


def _memory_bytes(process: psutil.Process) -> int:
    try:
        info = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return 0
    return int(getattr(info, "pss", 0) or info.rss)
