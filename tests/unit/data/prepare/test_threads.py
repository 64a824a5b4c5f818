"""Shards made in threads: all of them, and none is waited for after an error."""

import threading
import time
from dataclasses import dataclass, field
from typing import cast

import pytest

from phiray.data.prepare import threads
from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.shards import OnDocument, ShardWriter
from phiray.data.prepare.threads import run_in_threads
from phiray.data.sources.documents import DocumentRef

PATIENCE_SECONDS = 20


def task(number: int, num_documents: int) -> ShardTask:
    documents = (DocumentRef(f"{number}-{n}", "p", 0, 1) for n in range(num_documents))
    return ShardTask(number, tuple(documents))


@dataclass
class FakeWriter:
    """Stands in for a writer: counts documents, and may fail or take its time at one shard."""

    fails: int | None = None
    lasts: int | None = None
    written: list[int] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def write(self, task: ShardTask, *, on_document: OnDocument) -> None:
        self.written.append(task.number)
        try:
            if task.number == self.lasts:
                self.begun.set()
                give_up_at = time.monotonic() + PATIENCE_SECONDS
                while time.monotonic() < give_up_at:
                    on_document()
                    time.sleep(0.01)
            if task.number == self.fails:
                assert self.lasts is None or self.begun.wait(PATIENCE_SECONDS)
                raise OSError("disk")
            for _ in task.documents:
                on_document()
        finally:
            self.ended.append(task.number)


def run(writer: FakeWriter, tasks: list[ShardTask]) -> list[int]:
    told: list[int] = []
    run_in_threads(cast(ShardWriter, writer), tasks, told.append)
    return told


def test_every_shard_is_made_and_every_document_told() -> None:
    writer = FakeWriter()
    told = run(writer, [task(number, 1 + number) for number in range(9)])
    assert sorted(writer.written) == list(range(9))
    assert sum(told) == sum(range(1, 10))


def test_large_shards_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "num_cores", lambda: 1)
    writer = FakeWriter()
    run(writer, [task(0, 1), task(1, 3), task(2, 2)])
    assert writer.written == [1, 2, 0]


def test_error_ends_what_is_being_made_and_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "num_cores", lambda: 2)
    writer = FakeWriter(fails=1, lasts=0)
    start = time.monotonic()
    with pytest.raises(OSError, match="disk"):
        run(writer, [task(0, 9), task(1, 8), *[task(number, 1) for number in range(2, 50)]])
    assert time.monotonic() - start < PATIENCE_SECONDS / 2
    assert len(writer.written) < 50
    assert sorted(writer.ended) == sorted(writer.written)  # no thread goes on behind our back


def test_ctrl_c_ends_what_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "num_cores", lambda: 1)
    writer = FakeWriter(lasts=0)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_in_threads(cast(ShardWriter, writer), [task(0, 9), task(1, 8)], interrupt)
    assert (writer.written, writer.ended) == ([0], [0])
