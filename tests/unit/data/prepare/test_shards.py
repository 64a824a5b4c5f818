"""One shard: whole documents, hashed, there whole or not at all."""

import errno
import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer

from phiray.config.data import SplitConfig
from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.shards import ShardWriter
from phiray.data.sources.documents import DocumentRef, index_documents
from phiray.data.split import document_key
from phiray.errors import DataError
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import EOS, SENTENCE, write_redpajama, write_tokenizer

TEXTS = [SENTENCE * (1 + number) for number in range(4)]


@pytest.fixture
def writer(tmp_path: Path) -> ShardWriter:
    folder = write_tokenizer(tmp_path)
    write_redpajama(tmp_path, TEXTS)
    for name in ("shards", "records"):
        (tmp_path / name).mkdir()
    tokenizer = Tokenizer.load(folder)
    return ShardWriter(tmp_path / "shards", tmp_path / "records", "redpajama", tmp_path, tokenizer)


@pytest.fixture
def task(writer: ShardWriter) -> ShardTask:
    split = SplitConfig(heldout_fraction=1e-9)
    index = index_documents("redpajama", writer.root, split=split)
    return ShardTask(3, tuple(index.train))


def skip() -> None:
    pass


def test_shard_is_the_documents_whole_with_eos(writer: ShardWriter, task: ShardTask) -> None:
    told: list[None] = []
    writer.write(task, on_document=lambda: told.append(None))
    reference = FastTokenizer.from_str(writer.tokenizer.content)
    texts = {document_key(text): text for text in TEXTS}
    expected = [
        [*reference.encode(texts[document.key]).ids, reference.token_to_id(EOS)]
        for document in task.documents
    ]
    data = (writer.folder / "tokens-00003.bin").read_bytes()
    assert np.frombuffer(data, "<u2").tolist() == [token for ids in expected for token in ids]
    documents = list(writer.documents(task))
    assert [document.key for document in documents] == [ref.key for ref in task.documents]
    assert [document.num_tokens for document in documents] == [len(ids) for ids in expected]
    starts = np.cumsum([0, *map(len, expected)])[:-1]
    assert [document.start for document in documents] == starts.tolist()
    assert len(told) == len(TEXTS)
    record = writer.read_record(task)
    assert record == writer.find(task)
    assert record.tokens.sha256 == hashlib.sha256(data).hexdigest()
    assert record.tokens.num_bytes == len(data) == 2 * record.num_tokens


def test_shard_made_twice_is_the_same(writer: ShardWriter, task: ShardTask) -> None:
    writer.write(task, on_document=skip)
    first = {path: path.read_bytes() for path in writer.root.glob("*s/*")}
    writer.write(task, on_document=skip)
    assert {path: path.read_bytes() for path in writer.root.glob("*s/*")} == first


def test_shard_that_was_not_made_is_not_found(writer: ShardWriter, task: ShardTask) -> None:
    assert writer.find(task) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("shards/tokens-00003.bin", b"x"),
        ("shards/tokens-00003.bin", None),
        ("records/00003.jsonl", b"{}"),
        ("records/00003.jsonl", None),
        ("records/00003.json", b"{"),
        ("records/00003.json", b"[]"),
        ("records/00003.json", b'{"tokens": {}, "listed": {}}'),
    ],
)
def test_damaged_shard_is_not_taken(
    writer: ShardWriter,
    task: ShardTask,
    name: str,
    content: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer.write(task, on_document=skip)
    (writer.root / name).unlink()
    if content is not None:
        (writer.root / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert writer.find(task) is None
    assert "event=prepared_shard_broken" in caplog.text


def test_shard_of_other_documents_is_not_taken(writer: ShardWriter, task: ShardTask) -> None:
    writer.write(task, on_document=skip)
    assert writer.find(ShardTask(3, task.documents[::-1])) is None


def test_shard_that_ends_early_leaves_nothing(writer: ShardWriter, task: ShardTask) -> None:
    def stop() -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        writer.write(task, on_document=stop)
    assert list(writer.folder.iterdir()) == list(writer.records.iterdir()) == []


def test_full_disk_leaves_nothing(
    writer: ShardWriter, task: ShardTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="full"):
        writer.write(task, on_document=skip)
    assert list(writer.folder.iterdir()) == list(writer.records.iterdir()) == []


def test_document_that_changed_is_told(writer: ShardWriter, task: ShardTask) -> None:
    write_redpajama(writer.root, ["other"] * 4)
    with pytest.raises(DataError, match="changed while it was being read"):
        writer.write(task, on_document=skip)


def test_record_is_json_without_places(writer: ShardWriter, task: ShardTask) -> None:
    writer.write(task, on_document=skip)
    text = (writer.records / "00003.json").read_text()
    assert str(writer.root) not in text
    assert set(json.loads(text)) == {"keys_sha256", "num_tokens", "tokens", "listed"}


def test_documents_of_a_task_have_sizes() -> None:
    task = ShardTask(0, (DocumentRef("a", "p", 0, 5), DocumentRef("b", "p", 9, 7)))
    assert task.num_bytes == 12
