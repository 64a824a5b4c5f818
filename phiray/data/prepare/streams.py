"""Make the shards of streams of tokens, those that are not there yet, until there are enough.

Source: DESIGN 6: interrupted preparation goes on where it stopped, and ends with the same bytes.
Limits: with a limit of tokens, shards are made in waves, whose sizes follow from what the documents
before gave; what the last wave gives beyond the limit is thrown away.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from phiray.data.prepare.cut import ShardTask, StreamTasks
from phiray.data.prepare.shards import ShardRecord, ShardWriter, TokenisedDocument
from phiray.data.prepare.threads import OnDone, RunShards
from phiray.data.token_layout import TokenShard, TokenStream

BYTES_PER_TOKEN = 4
"""Of English text in GPT-2's vocabulary; for the first wave alone, later ones know better."""


@dataclass
class MadeStream:
    """One stream, as far as it is made."""

    plan: StreamTasks
    limit: int | None
    """Tokens that are enough."""
    made: list[tuple[ShardTask, ShardRecord]] = field(default_factory=list)

    def next_wave(self) -> list[ShardTask]:
        """Choose the shards to make next; none if there are enough tokens, or no more documents."""
        rest = self.plan.tasks[len(self.made) :]
        if self.limit is None:
            return list(rest)
        num_tokens = sum(record.num_tokens for _, record in self.made)
        num_bytes = sum(task.num_bytes for task, _ in self.made)
        per_token = num_bytes / num_tokens if num_tokens else BYTES_PER_TOKEN
        wanted = (self.limit - num_tokens) * per_token
        wave: list[ShardTask] = []
        for task in rest:
            if wanted <= 0:
                break
            wave.append(task)
            wanted -= task.num_bytes
        return wave

    def documents(self, writer: ShardWriter) -> Iterator[tuple[int, TokenisedDocument]]:
        """List the documents up to the one that reaches the limit; they start within the stream.

        Yields:
            The number of the document's shard, and the document.
        """
        start = 0
        for task, _ in self.made:
            for document in writer.documents(task):
                if self.limit is not None and start >= self.limit:
                    return
                yield task.number, replace(document, start=start)
                start += document.num_tokens

    def stream(self, num_tokens: Mapping[int, int]) -> TokenStream:
        """Say what the stream is made of.

        Args:
            num_tokens: how many count, by the number of the shard; none of the others.
        """
        shards = [
            TokenShard(record.tokens.path, num_tokens[task.number], record.tokens.sha256)
            for task, record in self.made
            if num_tokens.get(task.number)
        ]
        return TokenStream(self.plan.source, tuple(shards))


def make_streams(
    plans: Sequence[StreamTasks],
    writer: ShardWriter,
    *,
    limit: int | None,
    run_shards: RunShards,
    on_done: OnDone,
) -> list[MadeStream]:
    """Make all shards that are needed and are not there.

    Args:
        plans: streams, cut into shards.
        writer: of the shards.
        limit: tokens of each stream that are enough; none makes all of it.
        run_shards: makes shards, here or on other machines.
        on_done: told of documents, also of those in shards that are there.

    Raises:
        DataError: if a document changed since it was indexed.
        OSError: if a file cannot be written.
    """
    streams = [MadeStream(plan, limit) for plan in plans]
    while waves := [(stream, wave) for stream in streams if (wave := stream.next_wave())]:
        tasks = [task for _, wave in waves for task in wave]
        found: dict[int, ShardRecord] = {}
        for task in tasks:
            if (record := writer.find(task)) is not None:
                found[task.number] = record
                on_done(len(task.documents))
        missing = [task for task in tasks if task.number not in found]
        if missing:
            run_shards(writer, missing, on_done)
        found |= {task.number: writer.read_record(task) for task in missing}
        for stream, wave in waves:
            stream.made += [(task, found[task.number]) for task in wave]
    return streams
