"""Let one process at a time prepare a folder.

Source: flock(2): the lock goes with its process, however that ends.
Limits: storage that knows no locks is used without: two processes then may do the same work twice,
and each shard is whole all the same.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phiray.types import Progress

_SECONDS_BETWEEN_LOOKS = 0.2
_WAITING = "wait for another preparation of features"


@contextmanager
def locked(file: Path, *, progress: Progress | None) -> Iterator[bool]:
    """Wait until no other process holds the lock of this file, and hold it.

    Gives False where the storage has no locks.

    Raises:
        OSError: if the file cannot be made.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield _take(descriptor, progress)
    finally:
        os.close(descriptor)  # which unlocks


def _take(descriptor: int, progress: Progress | None) -> bool:
    waited = False
    while (is_held := _try(descriptor)) is None:
        waited = True
        if progress is not None:
            progress(_WAITING, 0, 1)
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if progress is not None and waited:
        progress(_WAITING, 1, 1)
    return is_held


def _try(descriptor: int) -> bool | None:
    """Return whether the lock is held now; None while another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True
