"""Books without header and footer: every form seen in real files, and all real samples."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.sources.gutenberg import decode_text, parse_book, read_book, scan_file
from phiray.data.sources.records import BadDocument, Document
from tests.text_builders import book_text, write_books

BODY = "CHAPTER I\n\nIt was a dark night.\n\n***\n\nThe end of the Project came.\n\nTHE END"
HEADER = "The Project Gutenberg EBook of Tests, by Nobody\n\nRelease Date: 1999 [EBook #84]\n\n"
START_LINES = [
    "*** START OF THIS PROJECT GUTENBERG EBOOK TESTS ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK TESTS ***",
    "***START OF THE PROJECT GUTENBERG EBOOK TESTS***",
    "*** START OF THE PROJECT GUTENBERG ETEXT OF TESTS ***",
    "*** START OF THE PROJECT GUTENBERG EBOOK, A LONG\nTITLE ON TWO LINES ***",
    "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
    "*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.02/11/02*END*",
]
END_LINES = [
    "*** END OF THIS PROJECT GUTENBERG EBOOK TESTS ***",
    "            *** END OF THE PROJECT GUTENBERG EBOOK TESTS ***",
    "***END OF THE PROJECT GUTENBERG EBOOK TESTS***",
    "End of the Project Gutenberg EBook of Tests, by Nobody\n\n*** END OF THIS PROJECT ...",
    "End of Project Gutenberg's Tests, by Nobody",
]


@pytest.mark.parametrize("start", START_LINES)
def test_parse_book_knows_every_start_marker(start: str) -> None:
    text = f"{HEADER}{start}\n\n\n{BODY}\n\n{END_LINES[0]}\nlicence"
    assert parse_book(text, name="x").text == BODY


def test_small_print_behind_the_book_is_no_header() -> None:
    text = f"{HEADER}{START_LINES[0]}\n{BODY}\n{END_LINES[0]}\n{START_LINES[-1]}\n"
    assert parse_book(text, name="x").text == BODY


def test_small_print_ends_the_header_of_a_book_shorter_than_it() -> None:
    small_print = START_LINES[-1]
    text = f"{HEADER}{'This header is long. ' * 99}\n{small_print}\n{BODY}\n\n{END_LINES[4]}\n"
    assert parse_book(text, name="x").text == BODY


def test_small_print_behind_the_footer_is_no_header_without_a_start_line() -> None:
    text = f"{BODY}\n\n{END_LINES[4]}\n\n{START_LINES[-1]}\n"
    assert parse_book(text, name="x").text == BODY


@pytest.mark.parametrize("end", END_LINES)
def test_parse_book_knows_every_end_marker(end: str) -> None:
    text = f"{HEADER}{START_LINES[0]}\n\n{BODY}\n\n{end}\nlicence"
    assert parse_book(text, name="x").text == BODY


@pytest.mark.parametrize(
    "credit",
    [
        "Produced by Nobody and the Online Distributed\nProofreading Team",
        "E-text prepared by Nobody\n\n\n\nNote: Project Gutenberg also has an HTML version",
        "This etext was produced by Nobody",
        "[Transcribed from the 1900 edition by Nobody]",
    ],
)
def test_parse_book_drops_credits_at_the_top_only(credit: str) -> None:
    body = f"{BODY}\n\nProduced by a machine in the story."
    text = f"{HEADER}{START_LINES[0]}\n\n{credit}\n\n\n{body}\n\n{END_LINES[0]}"
    assert parse_book(text, name="x").text == body


def test_parse_book_leaves_a_text_without_header_whole() -> None:
    assert parse_book(f"Produced by the sea.\n\n{BODY}\n\n", name="tale").text.endswith(BODY)
    assert parse_book(BODY, name="tale").text == BODY


def test_restated_title_is_the_footer_of_the_oldest_files() -> None:
    body = f"{BODY}\n\n" * 4 + BODY
    footer = "The Project Gutenberg Etext of Tests\n***This file should be named tests.txt***"
    assert parse_book(f"{START_LINES[3]}\n\n{body}\n\n{footer}", name="x").text == body


def test_title_that_opens_a_book_is_no_footer() -> None:
    text = f"{START_LINES[0]}\n\nThe Project Gutenberg Etext of Tests\nby Nobody\n\n{BODY}"
    assert parse_book(text, name="x").text == BODY


@pytest.mark.parametrize(
    ("header", "name", "number"),
    [
        (HEADER, "pg999", 84),
        ("[Etext #4657]\n", "x", 4657),
        (f"[eBook #1{'0' * 5000}]\n", "x", None),
        ("", "pg16595-8", 16595),
        ("", "12200-0", 12200),
        ("", "headerless_pg98", 98),
        ("", "chapter-2", None),
        ("", "tale", None),
    ],
)
def test_number_comes_from_header_then_file_name(
    header: str, name: str, number: int | None
) -> None:
    assert parse_book(f"{header}{BODY}", name=name).number == number


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16"])
def test_decode_text_does_not_need_to_be_told_the_encoding(encoding: str) -> None:
    assert (
        decode_text("Les Mis\u00e9rables\r\nfin\r".encode(encoding)) == "Les Mis\u00e9rables\nfin\n"
    )


def test_decode_text_reads_bytes_that_windows_does_not_define() -> None:
    assert decode_text(b"caf\xe9 \x81") == "caf\u00e9 \x81"


def test_read_book_gives_the_body_under_its_number(tmp_path: Path) -> None:
    file = write_books(tmp_path, {84: BODY}) / "pg84.txt"
    assert list(scan_file(file, path="b/pg84.txt")) == [Document("book:84", BODY, "b/pg84.txt", 0)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (book_text(1, " \n "), "blank text"),
        (f"{BODY}\n\nSee the Project Gutenberg Literary\nArchive Foundation", "licence text"),
        (f"{BODY}\n\n*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*", "licence text"),
        ("PK\0\0", "not text"),
    ],
)
def test_read_book_says_why_a_file_is_no_book(tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "pg1.txt"
    file.write_text(content, encoding="utf-8")
    entry = read_book(file, path="pg1.txt")
    assert isinstance(entry, BadDocument)
    assert (entry.where, entry.reason) == ("pg1.txt", reason)


def test_every_real_book_loses_header_and_footer_and_keeps_its_number(shared_data: Path) -> None:
    with (shared_data / "gutenberg" / "index.jsonl").open(encoding="utf-8") as lines:
        numbers = {row["file"]: row["ebook"] for row in map(json.loads, lines)}
    boilerplate = re.compile(
        r"\*\*\* ?(?:START|END)|Literary\s+Archive|gutenberg\.(?:org|net)|SMALL PRINT|\[E\w+ #\d",
        re.I,
    )
    assert len(numbers) == 94
    for path, number in numbers.items():
        entry = read_book(shared_data / "gutenberg" / path, path=path)
        assert isinstance(entry, Document), entry
        assert entry.key == f"book:{number}"
        ends = entry.text[:3000] + entry.text[-3000:]
        assert boilerplate.search(ends) is None, path
        assert not entry.text.startswith("Produced by"), path


def test_editions_of_one_real_book_have_one_key(shared_data: Path) -> None:
    dirt = shared_data / "gutenberg" / "dirt"
    keys = set()
    for name in ("same_book_other_encoding_12200-0.txt", "same_book_other_encoding_12200.txt"):
        entry = read_book(dirt / name, path=name)
        assert isinstance(entry, Document)
        keys.add(entry.key)
    assert keys == {"book:12200"}


def test_real_headerless_book_is_left_whole(shared_data: Path) -> None:
    file = shared_data / "gutenberg" / "dirt" / "headerless_pg84.txt"
    entry = read_book(file, path=file.name)
    assert isinstance(entry, Document)
    assert entry.key == "book:84"
    assert entry.text == file.read_text(encoding="utf-8-sig").strip()


PIECES = (
    b"*** START OF THIS PROJECT GUTENBERG EBOOK X ***\r\n",
    b"*** END OF THE PROJECT GUTENBERG EBOOK X ***\n",
    b"*END THE SMALL PRINT! FOR PUBLIC DOMAIN EBOOKS*Ver.04.29.93*END*\n",
    b"[eBook #12]\n",
    b"Produced by A. Volunteer\n\n",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"Caf\xe9 \x81 \0",
)


@settings(deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=8))
def test_any_file_is_a_book_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "pg7.txt"
    file.write_bytes(b"".join(pieces))

    entry = read_book(file, path="gutenberg/books/pg7.txt")

    if isinstance(entry, BadDocument):
        assert entry.reason in {"not text", "blank text", "licence text"}
    else:
        assert entry.text.strip() == entry.text != ""


def test_real_start_markers_come_in_four_forms_and_none_stays(shared_data: Path) -> None:
    marker = re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG E(?:BOOK|TEXT)", re.M)
    forms: Counter[str] = Counter()
    for file in sorted((shared_data / "gutenberg" / "books").glob("*.txt")):
        found = marker.search(decode_text(file.read_bytes()))
        assert found is not None, file.name
        forms[found.group(0)] += 1
        entry = read_book(file, path=file.name)
        assert isinstance(entry, Document)
        assert marker.search(entry.text) is None, file.name
    assert sorted(forms.values()) == [1, 8, 9, 76]


def test_real_books_lose_their_byte_order_mark_and_their_carriage_returns(
    shared_data: Path,
) -> None:
    num_marks = num_returns = 0
    for file in sorted((shared_data / "gutenberg" / "books").glob("*.txt")):
        data = file.read_bytes()
        num_marks += data.startswith(b"\xef\xbb\xbf")
        num_returns += b"\r\n" in data
        entry = read_book(file, path=file.name)
        assert isinstance(entry, Document)
        assert "\ufeff" not in entry.text
        assert "\r" not in entry.text
    assert (num_marks, num_returns > 80) == (81, True)


def test_real_books_are_read_as_they_are_not_as_they_declare(shared_data: Path) -> None:
    declared = re.compile(rb"character set encoding: *(ISO\S*)", re.I)
    liars, honest = [], []
    num_other_letters = 0
    for file in sorted((shared_data / "gutenberg" / "books").glob("*.txt")):
        data = file.read_bytes()
        found = declared.search(data)
        if found is None:
            continue
        entry = read_book(file, path=file.name)
        assert isinstance(entry, Document)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            honest.append(found.group(1))
            text = data.decode("cp1252")
        else:
            liars.append(found.group(1))
        assert entry.text in text.replace("\r\n", "\n")
        num_other_letters += not entry.text.isascii()
    assert num_other_letters == 3
    assert sorted(liars) == [b"ISO", *[b"ISO-646-US"] * 4]
    assert honest == [b"ISO-8859-1"] * 2


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("french_pg4650_candide.txt", 4650, "\u00e9tait"),
        ("spanish_declared_pg24823_silas_marner.txt", 24823, "Silas Marner"),
    ],
)
def test_real_books_of_other_languages_are_books(
    shared_data: Path, name: str, number: int, words: str
) -> None:
    entry = read_book(shared_data / "gutenberg" / "dirt" / name, path=name)
    assert isinstance(entry, Document), entry
    assert entry.key == f"book:{number}"
    assert words in entry.text
