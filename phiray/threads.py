"""How the threads of one process wait for one another: asleep, instead of spinning.

Source: OMP_WAIT_POLICY of OpenMP 5.0, section 6.7. Measured by `bench/contention.py`.
Limits: OpenMP reads it when torch is first loaded, so this must come before; a value that the user
has set stays.
"""

import os

WAIT_POLICY = "OMP_WAIT_POLICY"


def let_threads_sleep() -> None:
    """Make this process, and those that it starts, give a waiting thread's core away.

    A thread that spins holds its core while the one it waits for needs it. With anything else
    running on a small machine, steps of training then take many times as long.
    """
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")
