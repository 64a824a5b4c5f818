"""Cut the documents of a data set into shards: by their sizes alone, so always in the same way.

Source: DESIGN 6: whole documents, since splitting one changes its tokens.
Limits: a shard is as large as its last document makes it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from phiray.data.sources.documents import DocumentRef

MIN_BYTES = 256 * 1024
"""Text of a shard at least: half a second of tokenising, beside which its files cost nothing."""
MAX_BYTES = 256 * 1024**2
"""Text of a shard at most, but for its last document: three minutes of tokenising are lost with an
interrupted one, and its file of 130 MB is quick to fetch and hash."""
NUM_SHARDS = 256
"""Aimed at between the two: many for every core to have its share, few for files to be mapped."""


@dataclass(frozen=True)
class ShardTask:
    """Documents that become one shard."""

    number: int
    documents: tuple[DocumentRef, ...]

    @property
    def num_bytes(self) -> int:
        """Size of its text."""
        return sum(document.num_bytes for document in self.documents)


@dataclass(frozen=True)
class StreamTasks:
    """The shards of one stream of tokens, in order."""

    source: str
    """The file that it is made of; empty if it is all of them."""
    tasks: tuple[ShardTask, ...]

    @property
    def num_documents(self) -> int:
        """Documents of all its shards."""
        return sum(len(task.documents) for task in self.tasks)


def cut_streams(
    documents: Sequence[DocumentRef], *, separate_files: bool, most_bytes: int | None
) -> list[StreamTasks]:
    """Cut documents into streams and shards, in their order.

    Args:
        documents: at least one.
        separate_files: a stream for each file, in the order of their names; else one for all.
        most_bytes: text that will be needed at most, by an estimate; none if all of it.
    """
    total = sum(document.num_bytes for document in documents)
    wanted = total if most_bytes is None else min(total, most_bytes)
    shard_bytes = min(max(wanted // NUM_SHARDS, MIN_BYTES), MAX_BYTES)
    streams: list[StreamTasks] = []
    number = 0
    for source, members in _by_file(documents) if separate_files else [("", documents)]:
        tasks = []
        for group in _groups(members, shard_bytes=shard_bytes):
            tasks.append(ShardTask(number, group))
            number += 1
        streams.append(StreamTasks(source, tuple(tasks)))
    return streams


def _by_file(documents: Iterable[DocumentRef]) -> list[tuple[str, list[DocumentRef]]]:
    files: dict[str, list[DocumentRef]] = {}
    for document in documents:
        files.setdefault(document.path, []).append(document)
    return sorted(files.items())


def _groups(
    documents: Sequence[DocumentRef], *, shard_bytes: int
) -> Iterable[tuple[DocumentRef, ...]]:
    group: list[DocumentRef] = []
    num_bytes = 0
    for document in documents:
        group.append(document)
        num_bytes += document.num_bytes
        if num_bytes >= shard_bytes:
            yield tuple(group)
            group, num_bytes = [], 0
    if group:
        yield tuple(group)
