"""Tokenise the documents of one shard into files that are there whole or not at all.

Source: DESIGN 6: whole documents, EOS after each; a shard follows from its documents, tokenizer and
reader alone, so whoever makes it, and however often, makes the same bytes.
Limits: one document at a time, in one thread; the longest real book takes a second.
"""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from phiray.data.manifest import FileEntry, file_entry
from phiray.data.prepare.cut import ShardTask
from phiray.data.sources.documents import TextSource, read_document
from phiray.text.packing import token_dtype
from phiray.text.tokenizer import Tokenizer

HIDDEN = "."
"""How the name of a file begins that is being written."""

OnDocument = Callable[[], None]
"""Told of each document that is tokenised; what it raises ends the shard."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenisedDocument:
    """Where a document stands in a stream of tokens."""

    key: str
    start: int
    num_tokens: int
    """With EOS."""
    num_bytes: int


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard."""

    keys_sha256: str
    """Of the documents that it was made of."""
    num_tokens: int
    tokens: FileEntry
    listed: FileEntry
    """The file that lists its documents."""


@dataclass(frozen=True)
class ShardWriter:
    """Makes shards of one data set in one folder; it may travel to other processes."""

    folder: Path
    """Where files of tokens are written; the same for all processes."""
    records: Path
    """Where what is known of each finished shard is kept until all of them are."""
    source: TextSource
    root: Path
    tokenizer: Tokenizer

    def write(self, task: ShardTask, *, on_document: OnDocument) -> None:
        """Make a shard; it counts from the moment when its record is there.

        Raises:
            DataError: if a document changed since it was indexed.
            OSError: if a file cannot be written.
        """
        dtype = token_dtype(self.tokenizer.vocab_size).newbyteorder("<")
        num_tokens = 0
        with (
            _whole_file(self._tokens_file(task.number)) as tokens,
            _whole_file(self._list_file(task.number)) as listed,
        ):
            for ref in task.documents:
                text = read_document(self.source, self.root, ref=ref).text
                ids = [*self.tokenizer.encode_batch([text])[0], self.tokenizer.eos_id]
                tokens.write(np.asarray(ids, dtype=dtype).tobytes())
                document = TokenisedDocument(ref.key, num_tokens, len(ids), ref.num_bytes)
                listed.write(json.dumps(asdict(document)).encode() + b"\n")
                num_tokens += len(ids)
                on_document()
        record = ShardRecord(_hash_keys(task), num_tokens, tokens.entry(), listed.entry())
        with _whole_file(self._record_file(task.number)) as file:
            file.write(json.dumps(asdict(record), indent=1).encode())

    def find(self, task: ShardTask) -> ShardRecord | None:
        """Return the record of a shard that is finished and undamaged; the log says what is not.

        Raises:
            DataError: if a file is there but cannot be read.
        """
        path = self._record_file(task.number)
        if not path.is_file():
            return None
        try:
            record = _record_from_json(path.read_bytes())
            is_whole = (
                record.keys_sha256 == _hash_keys(task)
                and _is_whole(record.tokens, self.folder)
                and _is_whole(record.listed, self.records)
            )
        except (ValueError, TypeError, KeyError):
            is_whole = False
        if is_whole:
            return record
        _log.warning("event=prepared_shard_broken shard=%s: it is made again", path)
        return None

    def read_record(self, task: ShardTask) -> ShardRecord:
        """Read the record of a shard that was just made, without a look at its files."""
        return _record_from_json(self._record_file(task.number).read_bytes())

    def documents(self, task: ShardTask) -> Iterator[TokenisedDocument]:
        """List the documents of a finished shard, in order."""
        with self._list_file(task.number).open("rb") as lines:
            for line in lines:
                yield TokenisedDocument(**json.loads(line))

    def _tokens_file(self, number: int) -> Path:
        return self.folder / f"tokens-{number:05}.bin"

    def _list_file(self, number: int) -> Path:
        return self.records / f"{number:05}.jsonl"

    def _record_file(self, number: int) -> Path:
        return self.records / f"{number:05}.json"


class _HashedFile:
    """A file that is hashed while it is written."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self._name = name
        self._stream = stream
        self._digest = hashlib.sha256()
        self._num_bytes = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._stream.write(data)
        self._digest.update(data)
        self._num_bytes += len(data)

    def entry(self) -> FileEntry:
        """Say what was written."""
        return FileEntry(self._name, self._num_bytes, self._digest.hexdigest())


@contextmanager
def _whole_file(path: Path) -> Iterator[_HashedFile]:
    """Give a file to write; it gets its name at the end, or vanishes on any error."""
    hidden = path.with_name(f"{HIDDEN}{path.name}-{uuid.uuid4().hex}")
    try:
        with hidden.open("xb") as stream:
            yield _HashedFile(path.name, stream)
            stream.flush()
            os.fsync(stream.fileno())
        hidden.rename(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise


def _is_whole(file: FileEntry, folder: Path) -> bool:
    path = folder / file.path
    return path.is_file() and file_entry(path, root=folder) == file


def _hash_keys(task: ShardTask) -> str:
    keys = "\n".join(document.key for document in task.documents)
    return hashlib.sha256(keys.encode()).hexdigest()


def _record_from_json(data: bytes) -> ShardRecord:
    values = json.loads(data)
    for name in ("tokens", "listed"):
        values[name] = FileEntry(**values[name])
    return ShardRecord(**values)
