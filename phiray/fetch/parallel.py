"""Call a function on many things in a few threads.

Source: concurrent.futures, whose threads a process waits for when it ends; these it leaves, so that
Ctrl-C is not held up by a server that sends nothing.
Limits: the function must leave nothing half done when the process ends in the midst of it.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, num_threads: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with its result, as they come.

    Raises:
        Exception: the first that the function raises; what has begun elsewhere is let go.
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

    for number in range(min(num_threads, len(items))):
        threading.Thread(target=work, name=f"phiray-fetch-{number}", daemon=True).start()
    try:
        for _ in items:
            outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        stop.set()
