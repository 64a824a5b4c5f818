"""Call a function on many things in a few threads.

Source: concurrent.futures, whose threads a process waits for when it ends; these it leaves, so that
Ctrl-C is not held up by a server that sends nothing.
Limits: the function must leave nothing half done when the process ends in the midst of it.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

GRACE_SECONDS = 5.0


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, num_threads: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with its result, as they come.

    Raises:
        Exception: the first that the function raises, once what has begun elsewhere is done; after
            GRACE_SECONDS, and at Ctrl-C, that is let go.
    """
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    for item in items:
        todo.put(item)
    done: queue.SimpleQueue[tuple[Item, Result] | BaseException] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                item = todo.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, function(item)))
            except BaseException as error:  # noqa: BLE001  # it is raised where it is waited for
                done.put(error)

    threads = [
        threading.Thread(target=work, name=f"phiray-fetch-{number}", daemon=True)
        for number in range(min(num_threads, len(items)))
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in items:
            outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    except Exception:  # whoever is told of it closes what the others may still use
        stop.set()
        _wait_for(threads)
        raise
    finally:
        stop.set()


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    deadline = time.monotonic() + GRACE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
