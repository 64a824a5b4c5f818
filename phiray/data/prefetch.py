"""Prepare items in threads beside their consumer, and hand them out in order.

Source: facts/pipeline.md: two decode threads beside the trainer are the fastest form measured.
Limits: threads help where the work leaves Python (JPEG decoding, resizing, file reads).
"""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

POLL_SECONDS = 0.1
"""How often a feeder that waits for room looks whether its consumer has gone."""
LOOKAHEAD = 2
"""Items prepared ahead, beyond one per thread."""


def prefetch_in_order(
    function: Callable[[Item], Result], items: Iterator[Item], *, num_threads: int
) -> Iterator[Result]:
    """Apply `function` to each item in `num_threads` threads; results come in the items' order.

    An error of `function` or of `items` is raised at its place. When the consumer stops early,
    nothing more is taken from `items`.
    """
    results: queue.Queue[Future[Result] | None] = queue.Queue(maxsize=num_threads + LOOKAHEAD)
    stop = threading.Event()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="phiray-prefetch") as pool:
        feeder = threading.Thread(
            target=_feed, args=(function, items, pool, results, stop), daemon=True
        )
        feeder.start()
        try:
            while (future := results.get()) is not None:
                yield future.result()
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _feed(
    function: Callable[[Item], Result],
    items: Iterator[Item],
    pool: ThreadPoolExecutor,
    results: "queue.Queue[Future[Result] | None]",
    stop: threading.Event,
) -> None:
    """Submit items until they end or the consumer has gone; then say so with None."""
    last: Future[Result] | None = None
    try:
        for item in items:
            if stop.is_set() or not _put(results, pool.submit(function, item), stop):
                return
    except BaseException as error:  # noqa: BLE001 - handed on to the consumer, not swallowed
        if stop.is_set():
            return  # the pool is shut: nobody waits for this error
        last = Future()
        last.set_exception(error)
        _put(results, last, stop)
    _put(results, None, stop)


def _put(
    results: "queue.Queue[Future[Result] | None]",
    value: Future[Result] | None,
    stop: threading.Event,
) -> bool:
    """Wait for room; False when the consumer has gone meanwhile."""
    while not stop.is_set():
        try:
            results.put(value, timeout=POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False
