"""Documents found, split, and read again."""

from pathlib import Path

import pytest

from phiray.config.data import SplitConfig
from phiray.data.sources.documents import (
    DocumentIndex,
    TextSource,
    index_documents,
    iter_documents,
    read_document,
    source_files,
)
from phiray.data.sources.records import Document
from phiray.data.split import is_heldout
from phiray.errors import DataError, ExitCode
from tests.text_builders import write_books, write_redpajama

SPLIT = SplitConfig(heldout_fraction=0.3, salt="t")


def _index(root: Path, source: TextSource = "redpajama") -> DocumentIndex:
    return index_documents(source, root, split=SPLIT)


def test_every_document_is_in_exactly_one_part(tmp_path: Path) -> None:
    texts = [f"row {number}" for number in range(60)]
    write_redpajama(tmp_path, [*texts, texts[5], " "])
    index = _index(tmp_path)
    assert (len(index.train) + len(index.heldout), len(index.duplicates), len(index.bad)) == (
        60,
        1,
        1,
    )
    assert index.num_documents == 62
    assert index.bad_counts == {"blank text": 1}
    for part, expected in ((index.train, False), (index.heldout, True)):
        assert part
        assert all(is_heldout(ref.key, salt="t", heldout_fraction=0.3) == expected for ref in part)


def test_order_does_not_depend_on_how_rows_are_cut_into_files(tmp_path: Path) -> None:
    texts = [f"row {number}" for number in range(40)]
    write_redpajama(tmp_path / "one", texts)
    write_redpajama(tmp_path / "two", texts[25:], name="a.jsonl")
    write_redpajama(tmp_path / "two", texts[:25], name="b.jsonl")
    keys = [[ref.key for ref in _index(tmp_path / name).train] for name in ("one", "two")]
    assert keys[0] == keys[1]


def test_first_documents_of_a_part_come_from_all_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        texts = [f"{name} {number}" for number in range(40)]
        write_redpajama(tmp_path, texts, name=f"{name}.jsonl")
    first = _index(tmp_path).train[:20]
    assert {ref.path for ref in first} == {"redpajama/a.jsonl", "redpajama/b.jsonl"}


@pytest.mark.parametrize("source", ["gutenberg", "redpajama"])
def test_read_document_finds_what_was_indexed(tmp_path: Path, source: TextSource) -> None:
    write_books(tmp_path, {number: f"Tale {number}." for number in range(8)})
    write_redpajama(tmp_path, [f"row {number}" for number in range(8)])
    entries = iter_documents(source, tmp_path)
    documents = {entry.key: entry for entry in entries if isinstance(entry, Document)}
    index = _index(tmp_path, source)
    refs = [*index.train, *index.heldout]
    assert len(refs) == 8
    for ref in refs:
        document = read_document(source, tmp_path, ref=ref)
        assert document == documents[ref.key]
        assert document.num_bytes == ref.num_bytes


def test_read_document_notices_a_file_that_changed(tmp_path: Path) -> None:
    file = write_redpajama(tmp_path, ["one", "two", "three"])
    ref = _index(tmp_path).train[0]
    file.write_text('{"text": "other"}\n' * 3)
    with pytest.raises(DataError, match="no longer holds document:"):
        read_document("redpajama", tmp_path, ref=ref)
    file.unlink()
    with pytest.raises(DataError, match="changed while it was being read"):
        read_document("redpajama", tmp_path, ref=ref)


@pytest.mark.parametrize("source", ["gutenberg", "redpajama"])
def test_missing_folder_exits_66_and_names_what_was_looked_for(
    tmp_path: Path, source: TextSource
) -> None:
    with pytest.raises(DataError, match=rf"No {source} data at .*{source}/.*\*") as caught:
        source_files(source, tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    write_books(tmp_path, {1: "One.", 2: "Two."})
    told: list[tuple[str, int, int]] = []
    list(iter_documents("gutenberg", tmp_path, progress=lambda *what: told.append(what)))
    assert told == [("read gutenberg", done, 2) for done in (0, 1, 2)]
