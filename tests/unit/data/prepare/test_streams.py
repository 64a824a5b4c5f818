"""Shards are made until there are enough, and those that are there are kept."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from phiray.config.data import SplitConfig
from phiray.data.prepare import cut
from phiray.data.prepare.cut import ShardTask, cut_streams
from phiray.data.prepare.shards import ShardWriter
from phiray.data.prepare.streams import MadeStream, make_streams
from phiray.data.prepare.threads import OnDone, run_in_threads
from phiray.data.sources.documents import index_documents
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import SENTENCE, write_redpajama, write_tokenizer


@pytest.fixture
def writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardWriter:
    monkeypatch.setattr(cut, "MIN_BYTES", 300)  # some documents a shard
    folder = write_tokenizer(tmp_path)
    for name in ("a", "b"):
        texts = [f"{name} {SENTENCE * (1 + number % 3)}{number}" for number in range(20)]
        write_redpajama(tmp_path, texts, name=f"{name}.jsonl")
    for name in ("shards", "records"):
        (tmp_path / name).mkdir()
    tokenizer = Tokenizer.load(folder)
    return ShardWriter(tmp_path / "shards", tmp_path / "records", "redpajama", tmp_path, tokenizer)


class Runs:
    """Makes shards in threads, and remembers which."""

    def __init__(self) -> None:
        self.numbers: list[list[int]] = []

    def __call__(self, writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        self.numbers.append([task.number for task in tasks])
        run_in_threads(writer, tasks, on_done)


def make(
    writer: ShardWriter, runs: Runs, *, limit: int | None = None, separate_files: bool = False
) -> tuple[list[MadeStream], int]:
    """Return the streams, and how many documents were told to be done."""
    index = index_documents("redpajama", writer.root, split=SplitConfig(heldout_fraction=1e-9))
    plans = cut_streams(index.train, separate_files=separate_files, most_bytes=None)
    told: list[int] = []
    streams = make_streams(plans, writer, limit=limit, run_shards=runs, on_done=told.append)
    return streams, sum(told)


def test_all_is_made_in_one_wave_and_found_the_next_time(writer: ShardWriter) -> None:
    runs = Runs()
    (stream,), num_told = make(writer, runs)
    assert len(stream.plan.tasks) > 5
    assert runs.numbers == [list(range(len(stream.plan.tasks)))]
    assert num_told == 40
    times = {path: path.stat().st_mtime_ns for path in writer.folder.iterdir()}
    again, num_told = make(writer, runs)
    assert again == [stream]
    assert num_told == 40
    assert len(runs.numbers) == 1
    assert {path: path.stat().st_mtime_ns for path in writer.folder.iterdir()} == times


def test_only_what_is_missing_or_damaged_is_made(writer: ShardWriter) -> None:
    (stream,), _ = make(writer, Runs())
    before = {path: path.read_bytes() for path in writer.root.glob("*s/*")}
    (writer.folder / "tokens-00002.bin").write_bytes(b"x")
    (writer.records / "00004.json").unlink()
    runs = Runs()
    assert make(writer, runs)[0] == [stream]
    assert runs.numbers == [[2, 4]]
    assert {path: path.read_bytes() for path in writer.root.glob("*s/*")} == before


def test_limit_is_reached_in_waves_that_learn_from_the_one_before(writer: ShardWriter) -> None:
    runs = Runs()
    (stream,), _ = make(writer, runs, limit=300)
    num_tokens = [record.num_tokens for _, record in stream.made]
    assert sum(num_tokens[: -len(runs.numbers[-1])]) < 300 <= sum(num_tokens)
    assert len(stream.made) < len(stream.plan.tasks)
    assert [number for wave in runs.numbers for number in wave] == list(range(len(stream.made)))


def test_documents_go_on_to_the_one_that_reaches_the_limit(writer: ShardWriter) -> None:
    (stream,), _ = make(writer, Runs(), limit=300)
    documents = [document for _, document in stream.documents(writer)]
    assert documents[-1].start < 300 <= documents[-1].start + documents[-1].num_tokens
    ends = [document.start + document.num_tokens for document in documents]
    assert [document.start for document in documents] == [0, *ends[:-1]]
    used = {0: 7, 1: 0}
    assert [(s.file, s.num_tokens) for s in stream.stream(used).shards] == [("tokens-00000.bin", 7)]


def test_limit_counts_for_each_stream(writer: ShardWriter) -> None:
    streams, _ = make(writer, Runs(), limit=200, separate_files=True)
    assert [stream.plan.source for stream in streams] == [
        "redpajama/a.jsonl",
        "redpajama/b.jsonl",
    ]
    for stream in streams:
        *_, (_, last) = stream.documents(writer)
        assert last.start < 200 <= last.start + last.num_tokens


def test_limit_beyond_all_documents_makes_all(writer: ShardWriter) -> None:
    (stream,), num_told = make(writer, Runs(), limit=10**9)
    assert len(stream.made) == len(stream.plan.tasks)
    assert num_told == 40
