"""Rows of JSON lines, mixed schemas and faults included."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.sources.records import BadDocument, Document
from phiray.data.sources.redpajama import parse_line, read_row, scan_file
from phiray.data.split import document_key

GOOD_LINES = [
    b'{"text": "one", "meta": {"language": "en"}}\n',
    b'{"meta": {"language": ["en", "fr"]}, "text": "two"}\r\n',
    '{"text": "three\u2028 still three", "pred_label": "cc"}\n'.encode(),
    b"\n",
    b'{"text": "four"}',
]


def test_scan_file_reads_text_whatever_else_a_row_holds(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(GOOD_LINES))
    texts = [entry.text for entry in scan_file(file, path="a") if isinstance(entry, Document)]
    assert texts == ["one", "two", "three\u2028 still three", "four"]


def test_read_row_finds_each_row_again(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"".join(GOOD_LINES))
    for entry in scan_file(file, path="a"):
        assert isinstance(entry, Document)
        assert read_row(file, path="a", offset=entry.offset) == entry


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b'{"text": "cut', "not JSON", "Unterminated string"),
        (b"[" * 100_000, "not JSON", "recursion"),
        (b'{"text": "\xff"}', "not UTF-8", "byte 10"),
        (b'{"raw_content": "x", "id": 1}', "no text", r"'id', 'raw_content'"),
        (b'{"text": ["x"]}', "no text", "text"),
        (b'["x"]', "no text", "list"),
        (b'{"text": " \\n"}', "blank text", "2 characters"),
        (b'{"text": "a\\ud800"}', "not Unicode", "character 1"),
    ],
)
def test_bad_line_is_reported_with_its_number(line: bytes, reason: str, detail: str) -> None:
    entry = parse_line(line, path="redpajama/a.jsonl", offset=9, number=7)
    assert isinstance(entry, BadDocument)
    assert (entry.where, entry.reason) == ("redpajama/a.jsonl:7", reason)
    assert detail in entry.detail


def test_bad_line_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"text": "one"}\n{"text": \n{"text": "two"}\n')
    entries = list(scan_file(file, path="a"))
    assert [type(entry) for entry in entries] == [Document, BadDocument, Document]
    assert isinstance(entries[1], BadDocument)
    assert entries[1].where == "a:2"


def test_every_real_row_is_read_and_the_blank_one_is_bad(shared_data: Path) -> None:
    num_rows, bad = 0, []
    for file in sorted((shared_data / "redpajama").glob("*.jsonl")):
        expected = [json.loads(line)["text"] for line in file.read_bytes().splitlines()]
        entries = list(scan_file(file, path=file.name))
        bad += [entry for entry in entries if isinstance(entry, BadDocument)]
        good = [entry for entry in entries if isinstance(entry, Document)]
        assert [entry.text for entry in good] == [text for text in expected if text.strip()]
        assert good[0].key == document_key(good[0].text)
        num_rows += len(entries)
    assert num_rows == 3409
    assert [entry.reason for entry in bad] == ["blank text"]


LINES = st.binary(max_size=40) | st.builds(
    lambda row: json.dumps(row).encode(),
    st.fixed_dictionaries(
        {}, optional={"text": st.text(max_size=9) | st.none(), "meta": st.text()}
    ),
)


@settings(deadline=None)
@given(lines=st.lists(LINES, max_size=6), end=st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
def test_any_file_is_rows_or_reasons_and_each_row_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], end: bytes
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    file.write_bytes(end.join(lines))

    entries = list(scan_file(file, path="a.jsonl"))

    assert len(entries) == sum(bool(line.strip()) for line in file.read_bytes().split(b"\n"))
    for entry in entries:
        if isinstance(entry, BadDocument):
            assert entry.reason in {"not JSON", "not UTF-8", "no text", "blank text", "not Unicode"}
        else:
            assert read_row(file, path="a.jsonl", offset=entry.offset) == entry


def test_real_rows_differ_in_all_but_their_text(shared_data: Path) -> None:
    """Readers that infer one schema for all rows fail on these."""
    columns: set[tuple[str, ...]] = set()
    languages: set[str] = set()
    files = sorted((shared_data / "redpajama").glob("*.jsonl"))
    for file in files:
        for line in file.read_bytes().splitlines():
            row = json.loads(line)
            columns.add(tuple(sorted(row)))
            meta = row.get("meta")
            if isinstance(meta, dict) and "language" in meta:
                languages.add(type(meta["language"]).__name__)
    assert len(files) == 7
    assert all("text" in names for names in columns)
    assert any("meta" not in names for names in columns)
    assert languages == {"str", "list"}
