"""How the threads of one process wait for one another: briefly awake, then asleep.

Source: OMP_WAIT_POLICY of OpenMP 5.0, section 6.7, and GOMP_SPINCOUNT of GNU's OpenMP, which torch
uses on Linux; measured by `bench/contention.py`.
Limits: OpenMP reads them when torch is first loaded, so this must come before. What the user has
set stays.
"""

import os

WAIT_POLICY = "OMP_WAIT_POLICY"
SPIN_COUNT = "GOMP_SPINCOUNT"

_WAITING = {
    WAIT_POLICY: "PASSIVE",
    # Some microseconds. Medians of a step alone, and beside one busy process: 0.053 and 0.190 s
    # spinning on, 0.080 and 0.097 asleep at once, 0.065 and 0.117 so.
    SPIN_COUNT: "1000",
}


def let_threads_sleep() -> None:
    """Make this process, and those that it starts, give a waiting thread's core away soon.

    A thread that spins holds its core while the one it waits for needs it. With anything else
    running on a small machine, steps of training then take many times as long.
    """
    if not any(name in os.environ for name in _WAITING):
        os.environ.update(_WAITING)
