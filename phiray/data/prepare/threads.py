"""Make shards in threads of this process, as many as it has cores.

Source: the tokenizer leaves Python while it works, so threads are enough; measured by
`bench/text.py`.
Limits: one machine; `jobs/prepare.py` makes the same shards on the nodes of a cluster.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.shards import ShardWriter
from phiray.node import num_cores

POLL_SECONDS = 0.2
"""How often progress is told."""

OnDone = Callable[[int], None]
"""Told how many more documents are done."""
RunShards = Callable[[ShardWriter, Sequence[ShardTask], OnDone], None]
"""Makes shards, in any order, and returns when all of them are finished."""


class _StoppedError(Exception):
    """Whoever waited for this shard no longer does."""


class _Watch:
    """What threads tell the one that waits for them, and are told by it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_new = 0
        self.stop = False

    def on_document(self) -> None:
        """Count a document; end the shard if nobody waits for it."""
        if self.stop:
            raise _StoppedError
        with self._lock:
            self._num_new += 1

    def take(self) -> int:
        """Return how many documents were done since the last call."""
        with self._lock:
            num_new, self._num_new = self._num_new, 0
        return num_new


def run_in_threads(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
    """Make shards; large ones first, so that no thread is left alone with one at the end.

    On an error, Ctrl-C among them, shards that are being made end within a document of each.

    Raises:
        DataError: if a document changed since it was indexed.
        OSError: if a file cannot be written.
    """
    watch = _Watch()
    by_size = sorted(tasks, key=lambda task: task.num_bytes, reverse=True)
    with ThreadPoolExecutor(num_cores(), thread_name_prefix="phiray-tokenise") as pool:
        pending: set[Future[None]] = {
            pool.submit(writer.write, task, on_document=watch.on_document) for task in by_size
        }
        try:
            while pending:
                done, pending = wait(pending, POLL_SECONDS, return_when=FIRST_EXCEPTION)
                on_done(watch.take())
                for future in done:
                    future.result()
        finally:
            watch.stop = True
            pool.shutdown(wait=False, cancel_futures=True)
