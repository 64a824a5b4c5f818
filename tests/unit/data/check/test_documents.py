from pathlib import Path

import pytest

from phiray.config.data import SplitConfig
from phiray.data.check.documents import check_documents
from phiray.data.check.report import CheckReport
from phiray.data.sources.documents import TextSource
from tests.text_builders import write_books, write_redpajama

SPLIT = SplitConfig(heldout_fraction=0.4)


def check(source: TextSource, root: Path) -> CheckReport:
    report = CheckReport()
    check_documents(source, root, report, split=SPLIT)
    return report


def test_check_documents_finds_one_text_on_both_sides(tmp_path: Path) -> None:
    write_books(tmp_path, dict.fromkeys(range(1, 41), "The same story."))

    report = check("gutenberg", tmp_path)

    heldout = report.counts["gutenberg held-out documents"]
    leaks = report.findings["gutenberg leak: one text in train and held-out"]
    assert leaks.count in {heldout, 40 - heldout}
    assert leaks.unit is None
    copies = report.findings["gutenberg: one text under two ids"]
    assert leaks.count + copies.count == 39
    assert copies.unit == "gutenberg documents"


def test_check_documents_counts_a_row_that_stands_twice(tmp_path: Path) -> None:
    write_redpajama(tmp_path, ["A row.", "A row.", "Another."])

    report = check("redpajama", tmp_path)

    assert not report.findings
    assert report.notes["redpajama: one text twice"].count == 1
    assert report.totals == {"redpajama documents": 3}


def test_check_documents_reports_unusable_ones(tmp_path: Path) -> None:
    write_redpajama(tmp_path, ["A row.", " "])

    report = check("redpajama", tmp_path)

    assert report.findings["redpajama: blank text"].count == 1
    assert report.fault_fractions() == {"redpajama documents": 0.5}


@pytest.mark.parametrize(
    ("declared", "data", "found"),
    [
        ("ISO-8859-1", "Caf\xe9".encode(), "says ISO-8859-1, is UTF-8"),
        ("UTF-8", "Caf\xe9".encode("latin-1"), "says UTF-8, is no UTF-8"),
        ("UTF-8", "Caf\xe9".encode(), None),
        ("ISO-8859-1", "Caf\xe9".encode("latin-1"), None),
        ("UTF-8", b"Cafe", None),
        ("ASCII", b"Cafe", None),
    ],
)
def test_check_documents_notes_a_lying_encoding(
    tmp_path: Path, declared: str, data: bytes, found: str | None
) -> None:
    file = write_books(tmp_path, {1: "A book."}) / "pg1.txt"
    file.write_bytes(f"Character set encoding: {declared}\r\n".encode() + data + file.read_bytes())

    notes = check("gutenberg", tmp_path).notes

    places = [place for tally in notes.values() for place in tally.places]
    assert places == ([f"{file}: {found}"] if found else [])


def test_check_documents_finds_the_five_real_books_that_lie(shared_data: Path) -> None:
    report = check("gutenberg", shared_data)

    assert report.notes["encoding is not what the book says"].count == 5
