import mmap
import subprocess
import sys
import time

import psutil

from phiray.jobs.memory import PeakMemory, tree_memory_bytes, watch_memory

MEGABYTE = 1024**2
HOLD_100_MB = (
    "import sys; a = bytearray(100 * 1024**2); print('ready', flush=True); sys.stdin.read()"
)


def test_memory_of_a_child_counts() -> None:
    before = tree_memory_bytes(psutil.Process())
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_100_MB], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        during = tree_memory_bytes(psutil.Process())
        child.communicate()
    assert during - before > 90 * MEGABYTE


def test_peak_stays_when_memory_is_given_back() -> None:
    peak = PeakMemory()
    held = bytearray(100 * MEGABYTE)
    peak.sample()
    highest = peak.peak_bytes
    del held
    peak.sample()
    assert peak.peak_bytes == highest
    assert tree_memory_bytes(psutil.Process()) < highest


def test_watch_memory_looks_at_the_end_even_of_short_work() -> None:
    before, start = tree_memory_bytes(psutil.Process()), time.monotonic()
    with watch_memory() as peak:
        # pages of its own: a bytearray may take what the heap still held of earlier tests
        held = mmap.mmap(-1, 50 * MEGABYTE)
        held.write(bytes(range(256)) * (50 * MEGABYTE // 256))
    held.close()
    assert peak.peak_bytes - before > 45 * MEGABYTE
    assert time.monotonic() - start < 3


def test_an_ended_process_has_no_memory() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    children = _Ended(process)
    child.wait()
    assert tree_memory_bytes(children.root) == 0


class _Ended:
    """A process that has ended between listing and looking."""

    def __init__(self, process: psutil.Process) -> None:
        self.root = process
        process.children = lambda recursive=False: []  # type: ignore[method-assign]
