"""Run a function in a thread of its own for as long as a block runs.

Limits: the function must end soon after `done` is set; the block's end waits for it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def beside(follow: Callable[[threading.Event], None], *, name: str) -> Iterator[None]:
    """Run `follow` beside the block.

    Args:
        follow: is given the event that tells it to end.
        name: of the thread, after `phiray-`.
    """
    done = threading.Event()
    thread = threading.Thread(target=follow, args=(done,), name=f"phiray-{name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
