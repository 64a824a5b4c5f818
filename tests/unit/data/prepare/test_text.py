"""Tokenised rows: token for token the whole documents of the training part."""

import errno
import json
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as FastTokenizer

from phiray.config.data import SplitConfig, TextDataConfig
from phiray.data.manifest import file_entry
from phiray.data.prepare import cut
from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.prepared_text import DOCUMENTS_FILE, QUARANTINE_FILE, PreparedText
from phiray.data.prepare.shards import HIDDEN, ShardWriter
from phiray.data.prepare.text import prepare_text
from phiray.data.prepare.threads import OnDone, run_in_threads
from phiray.data.sources.documents import index_documents, read_document
from phiray.data.split import document_key, is_heldout
from phiray.data.text_rows import TextRows
from phiray.errors import DataError, ExitCode
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import EOS, SENTENCE, all_tokens, write_redpajama, write_tokenizer

TEXTS = [f"{SENTENCE * (1 + number % 3)}{number}" for number in range(40)]
SPLIT = SplitConfig(heldout_fraction=0.25, salt="t")


def _config(
    root: Path,
    *,
    sequence_length: int = 16,
    max_train_tokens: int | None = None,
    max_bad_fraction: float = 0.01,
    split: SplitConfig = SPLIT,
    separate_files: bool = False,
) -> TextDataConfig:
    return TextDataConfig(
        root=str(root),
        source="redpajama",
        sequence_length=sequence_length,
        max_train_tokens=max_train_tokens,
        max_bad_fraction=max_bad_fraction,
        split=split,
        separate_files=separate_files,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    write_redpajama(tmp_path, TEXTS)
    return tmp_path


def _documents(prepared: PreparedText, *, eos_id: int) -> list[list[int]]:
    """Cut the stream at EOS."""
    documents: list[list[int]] = [[]]
    for token in all_tokens(prepared).tolist():
        documents[-1].append(token)
        if token == eos_id:
            documents.append([])
    assert documents.pop() == []
    return documents


def _shard(prepared: PreparedText) -> Path:
    (shard,) = prepared.read_layout().shards
    return prepared.folder / shard.file


def test_rows_hold_each_training_document_whole_and_once(root: Path) -> None:
    prepared = prepare_text(_config(root))
    reference = FastTokenizer.from_file(str(root / "tokenizer" / "tokenizer.json"))
    eos_id = reference.token_to_id(EOS)
    train = [
        text
        for text in TEXTS
        if not is_heldout(document_key(text), salt="t", heldout_fraction=0.25)
    ]
    assert 0 < len(train) < len(TEXTS)
    expected = [[*reference.encode(text).ids, eos_id] for text in train]
    assert sorted(_documents(prepared, eos_id=eos_id)) == sorted(expected)
    assert prepared.document_keys() != [document_key(text) for text in train]  # hash order
    assert sorted(prepared.document_keys()) == sorted(document_key(text) for text in train)


def test_counts_are_those_of_rows_whose_last_is_filled_up(root: Path) -> None:
    prepared = prepare_text(_config(root))
    counts = prepared.manifest.counts
    assert 0 < counts["padding"] < 16
    assert len(all_tokens(prepared)) == counts["tokens"]
    assert 16 * counts["rows"] == counts["tokens"] + counts["padding"]


def test_heldout_documents_are_counted_and_not_tokenised(root: Path) -> None:
    prepared = prepare_text(_config(root))
    heldout = {ref.key for ref in index_documents("redpajama", root, split=SPLIT).heldout}
    assert len(heldout) == prepared.manifest.counts["heldout_documents"]
    assert heldout.isdisjoint(prepared.document_keys())
    assert heldout | set(prepared.document_keys()) == {document_key(text) for text in TEXTS}


def test_validation_documents_are_prepared_apart_and_left_out_of_training(root: Path) -> None:
    split = SPLIT.model_copy(update={"validation_fraction": 0.3})
    config = _config(root, split=split)
    train, validation = prepare_text(config), prepare_text(config, part="validation")
    index = index_documents("redpajama", root, split=split)
    assert {ref.key for ref in index.validation} == set(validation.document_keys()) != set()
    assert {ref.key for ref in index.train} == set(train.document_keys()) != set()
    assert train.folder != validation.folder
    heldout = {ref.key for ref in index_documents("redpajama", root, split=SPLIT).heldout}
    assert {ref.key for ref in index.heldout} == heldout


def test_no_document_for_validation_is_said(root: Path) -> None:
    split = SPLIT.model_copy(update={"validation_fraction": 1e-9})
    match = "validation part has none of .* change data.split.validation_fraction"
    with pytest.raises(DataError, match=match):
        prepare_text(_config(root, split=split), part="validation")


def test_text_of_end_token_does_not_end_a_document(root: Path) -> None:
    write_redpajama(root, [*TEXTS, f"a{EOS}b"])
    prepared = prepare_text(_config(root))
    eos_id = FastTokenizer.from_file(str(root / "tokenizer/tokenizer.json")).token_to_id(EOS)
    assert document_key(f"a{EOS}b") in prepared.document_keys()
    assert all_tokens(prepared).tolist().count(eos_id) == len(prepared.document_keys())


def test_limit_stops_after_the_document_that_reaches_it(root: Path) -> None:
    every = prepare_text(_config(root))
    some = prepare_text(_config(root, max_train_tokens=100))
    counts = some.manifest.counts
    assert 100 <= counts["tokens"] < 100 + max(len(SENTENCE) * 3, 16)
    assert all_tokens(some).tolist() == all_tokens(every)[: counts["tokens"]].tolist()
    assert some.document_keys() == every.document_keys()[: counts["documents"]]
    total = counts["documents"] + counts["beyond_limit_documents"]
    assert total == every.manifest.counts["documents"]


def test_second_call_finds_what_the_first_made(root: Path) -> None:
    first = prepare_text(_config(root))
    times = {file: file.stat().st_mtime_ns for file in first.folder.iterdir()}
    second = prepare_text(_config(root))
    assert second == first
    assert {file: file.stat().st_mtime_ns for file in first.folder.iterdir()} == times


def test_folder_of_an_earlier_version_with_one_more_file_is_found(root: Path) -> None:
    prepared = prepare_text(_config(root))
    extra = prepared.folder / "heldout.jsonl"
    extra.write_text("{}\n")
    outputs = (*prepared.manifest.outputs, file_entry(extra, root=prepared.folder))
    manifest = replace(prepared.manifest, outputs=outputs)
    (prepared.folder / "manifest.json").write_text(manifest.to_json())
    assert prepare_text(_config(root)).manifest == manifest
    assert extra.exists()


def test_other_inputs_or_settings_give_another_folder(root: Path) -> None:
    folders = {
        prepare_text(config).folder
        for config in [
            _config(root),
            _config(root, sequence_length=17),
            _config(root, max_train_tokens=99),
            _config(root, split=SplitConfig(heldout_fraction=0.25, salt="u")),
            _config(root, split=SplitConfig(heldout_fraction=0.2, salt="t")),
        ]
    }
    write_redpajama(root, TEXTS[:-1])
    folders.add(prepare_text(_config(root)).folder)
    assert len(folders) == 6


def test_damaged_folder_is_made_again(root: Path) -> None:
    first = prepare_text(_config(root))
    good = _shard(first).read_bytes()
    _shard(first).write_bytes(good[:-2])
    assert prepare_text(_config(root)) == first
    assert _shard(first).read_bytes() == good


def test_damaged_folder_that_cannot_be_deleted_is_not_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare_text(_config(root))
    good = _shard(first).read_bytes()
    _shard(first).write_bytes(good[:-2])
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert prepare_text(_config(root)) == first
    assert _shard(first).read_bytes() == good


def test_damaged_folder_that_cannot_be_moved_away_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare_text(_config(root))
    _shard(prepared).write_bytes(b"")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "why")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match=f"{prepared.folder.name} cannot be written: why") as caught:
        prepare_text(_config(root))
    assert caught.value.exit_code == ExitCode.PERMISSION


def test_of_two_at_once_one_waits_and_takes_what_the_other_made(root: Path) -> None:
    told: list[tuple[str, int, int]] = []
    has_begun = threading.Event()

    def linger(what: str, done: int, total: int) -> None:
        if what == "tokenise":
            has_begun.set()
            while not told:
                time.sleep(0.01)

    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(prepare_text, _config(root), progress=linger)
        assert has_begun.wait(60)
        mine = prepare_text(_config(root), progress=lambda *what: told.append(what))
        assert mine == theirs.result()
    waits = [what for what in told if what[0] == "wait for another process"]
    assert waits[0] == ("wait for another process", 0, 1)
    assert waits[-1] == ("wait for another process", 1, 1)
    assert "tokenise" not in {what for what, _, _ in told}


def test_shards_of_many_documents_are_the_plain_concatenation(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare_text(_config(root))
    tokens, num_shards = all_tokens(whole).tolist(), len(whole.read_layout().shards)
    monkeypatch.setattr(cut, "MIN_BYTES", 100)
    shutil.rmtree(whole.folder)
    prepared = prepare_text(_config(root))
    assert len(prepared.read_layout().shards) > num_shards == 1
    assert prepared.manifest.fingerprint == whole.manifest.fingerprint
    assert prepared.manifest.counts == whole.manifest.counts
    assert all_tokens(prepared).tolist() == tokens
    with (prepared.folder / DOCUMENTS_FILE).open() as lines:
        starts = [json.loads(line)["start"] for line in lines]
    eos_id = Tokenizer.load(root / "tokenizer").eos_id
    ends = np.flatnonzero(all_tokens(prepared) == eos_id) + 1
    assert starts == [0, *ends[:-1].tolist()]


def test_what_was_interrupted_goes_on_with_the_shards_that_are_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "MIN_BYTES", 100)
    whole = prepare_text(_config(root))
    num_shards = len(whole.read_layout().shards)
    expected = {file.name: file.read_bytes() for file in whole.folder.iterdir()}
    shutil.rmtree(whole.folder)

    def stop_soon(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        run_in_threads(writer, tasks[:5], on_done)
        (writer.folder / f"{HIDDEN}tokens-00006.bin-1").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        prepare_text(_config(root), run_shards=stop_soon)
    assert not whole.folder.exists()
    made: list[int] = []

    def count(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        made.extend(task.number for task in tasks)
        run_in_threads(writer, tasks, on_done)

    again = prepare_text(_config(root), run_shards=count)
    assert made == list(range(5, num_shards))
    assert {file.name: file.read_bytes() for file in again.folder.iterdir()} == expected
    assert [path.name for path in again.folder.parent.iterdir()] == [again.folder.name]


def test_files_kept_apart_have_rows_of_their_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "MIN_BYTES", 100)
    other = [f"other {text}" for text in TEXTS]
    write_redpajama(root, other, name="another.jsonl")
    config = _config(root, separate_files=True)
    prepared = prepare_text(config)
    assert prepared.folder != prepare_text(_config(root)).folder
    first, second = prepared.row_ranges().items()
    assert (first[0], second[0]) == ("redpajama/another.jsonl", "redpajama/cc_sample.jsonl")
    counts = prepared.manifest.counts
    assert first[1].stop == second[1].start
    assert second[1].stop == counts["rows"]
    assert counts["padding"] < 2 * 16
    rows = TextRows.from_prepared(prepared)
    tokenizer = Tokenizer.load(root / "tokenizer")
    texts = {document_key(text): text for text in [*TEXTS, *other]}
    with (prepared.folder / DOCUMENTS_FILE).open() as lines:
        documents = [json.loads(line) for line in lines]
    assert len(documents) == counts["documents"] > 40
    for document in documents:
        text = texts[document["key"]]
        row, place = divmod(document["start"], 16)
        (ids,) = rows.read(np.array([row]))["input_ids"].to_pylist()
        wanted = [*tokenizer.encode(text), tokenizer.eos_id][: 16 - place]
        assert ids[place : place + len(wanted)] == wanted
        assert row in (first if text in other else second)[1]


def test_unusable_documents_are_counted_listed_and_left_out(root: Path) -> None:
    file = write_redpajama(root, [*TEXTS, " ", ""])
    with file.open("a") as lines:
        lines.write('{"txt": 1}\n')
    prepared = prepare_text(_config(root, max_bad_fraction=0.1))
    assert prepared.manifest.bad_counts == {"blank text": 2, "no text": 1}
    with (prepared.folder / QUARANTINE_FILE).open() as lines:
        places = [json.loads(line)["where"] for line in lines]
    assert places == [f"redpajama/cc_sample.jsonl:{number}" for number in (41, 42, 43)]


def test_too_many_unusable_documents_stop_before_tokenising(root: Path) -> None:
    write_redpajama(root, [*TEXTS, " ", " "])
    with pytest.raises(DataError, match=r"2 of 42 redpajama .* \(2 blank text; .*:41:") as caught:
        prepare_text(_config(root))
    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert not (root / "prepared").exists()


def test_data_without_training_documents_is_refused(root: Path) -> None:
    write_redpajama(root, TEXTS[:1])
    almost_all = SplitConfig(heldout_fraction=0.999_999, salt="t")
    match = r"train part has none of 1 redpajama .* \(1 are held out\)"
    with pytest.raises(DataError, match=match):
        prepare_text(_config(root, split=almost_all))


def test_place_that_cannot_be_written_exits_73(root: Path) -> None:
    (root / "prepared").write_text("a file is in the way")
    with pytest.raises(DataError, match=r"set data\.prepared") as caught:
        prepare_text(_config(root))
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_full_disk_exits_74_and_keeps_what_is_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "MIN_BYTES", 100)

    def fill(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        run_in_threads(writer, tasks[:2], on_done)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match="No space left on device") as caught:
        prepare_text(_config(root), run_shards=fill)
    assert caught.value.exit_code == ExitCode.IO
    assert len(list((root / "prepared").glob(".partial-*/records/*.json"))) == 2


def test_progress_ends_at_its_total(root: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepared = prepare_text(_config(root), progress=lambda *what: told.append(what))
    num_documents = prepared.manifest.counts["documents"]
    assert told[-1] == ("tokenise", num_documents, num_documents)
    assert {what for what, _, _ in told} == {"hash files", "read redpajama", "tokenise"}


def test_real_rows_are_tokenised_whole(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "tokenizer" / "phi-2-reconstructed"
    config = TextDataConfig(
        root=str(shared_data),
        source="redpajama",
        tokenizer=str(folder),
        prepared=str(tmp_path),
        max_train_tokens=50_000,
    )
    prepared = prepare_text(config)
    counts = prepared.manifest.counts
    assert counts["bad_documents"] == 1
    assert counts["documents"] + counts["beyond_limit_documents"] == 3065
    assert counts["heldout_documents"] == 342
    reference = FastTokenizer.from_file(str(folder / "tokenizer.json"))
    reference.encode_special_tokens = True
    index = index_documents("redpajama", shared_data, split=config.split)
    first = read_document("redpajama", shared_data, ref=index.train[0])
    ids = [*reference.encode(first.text).ids, 50256]
    assert all_tokens(prepared)[: len(ids)].tolist() == ids
