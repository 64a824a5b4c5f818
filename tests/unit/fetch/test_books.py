import json
import time
from pathlib import Path

import pytest

from phiray.data.sources.gutenberg import read_book
from phiray.data.sources.records import Document
from phiray.errors import DataError, ExitCode, FetchError
from phiray.fetch.books import book_fault, fetch_books, read_ids
from phiray.fetch.sources import BookSource
from tests.fetch_builders import Listener, workplace_at
from tests.fetch_server import Answer, FaultyServer

PAUSE_SECONDS = 0.02
UNDER_COPYRIGHT = 16
"""Peter Pan, whose header says so."""


def book(number: int, *, language: str = "English", extra: str = "") -> bytes:
    return (
        f"\ufeffThe Project Gutenberg eBook of Book {number}\r\n{extra}\r\n"
        f"Title: Book {number}\r\n\r\nAuthor: Somebody\r\n\r\n"
        f"Release date: June 1, 1998 [eBook #{number}]\r\n\r\nLanguage: {language}\r\n\r\n"
        f"*** START OF THE PROJECT GUTENBERG EBOOK BOOK {number} ***\r\n\r\n"
        f"It was the best of times, number {number}.\r\n\r\n"
        f"*** END OF THE PROJECT GUTENBERG EBOOK BOOK {number} ***\r\n"
    ).encode()


def serve_books(server: FaultyServer, *numbers: int) -> None:
    for number in numbers:
        server.files[f"/cache/epub/{number}/pg{number}.txt"] = book(number)


def source_at(server: FaultyServer) -> BookSource:
    return BookSource((server.url,), server.url, 10**6, 1_000, PAUSE_SECONDS)


def fetch(folder: Path, server: FaultyServer, *ids: int, listener: Listener | None = None) -> int:
    with workplace_at(folder, server, listener=listener) as workplace:
        return fetch_books(source_at(server), workplace, ids=ids)


def index_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]


def test_own_list_is_of_a_few_hundred_books_once_each() -> None:
    ids = read_ids(None)
    assert 200 <= len(ids) == len(set(ids))
    assert {1342, 84, 2701} < set(ids)


def test_own_list_holds_books_that_phiray_reads(shared_data: Path) -> None:
    """The real samples are real files of the same collection, so their numbers are sure."""
    known = {
        json.loads(line)["ebook"]
        for line in (shared_data / "gutenberg" / "index.jsonl").read_text().splitlines()
    }
    assert known - set(read_ids(None)) == {UNDER_COPYRIGHT}


def test_real_books_pass_the_look_at_their_header(shared_data: Path) -> None:
    faults = {
        file.name: fault
        for file in sorted((shared_data / "gutenberg" / "books").glob("*.txt"))
        if (fault := book_fault(file.read_bytes()[:20_000].decode(errors="replace")))
    }
    assert faults == {f"pg{UNDER_COPYRIGHT}.txt": "it is under copyright"}


def test_list_takes_comments_blank_lines_and_doubles(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("# mine\n\n 84 # Frankenstein\n1342\n84\n")
    assert read_ids(path) == [84, 1342]


@pytest.mark.parametrize("line", ["pg84", "-1", "0", "8 4", "12345678", "²"])
def test_list_with_something_else_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"84\n{line}\n")
    with pytest.raises(DataError, match=r"ids\.txt:2 is") as caught:
        read_ids(path)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_list_that_is_not_there_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a list of books") as caught:
        read_ids(tmp_path / "none.txt")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="names no book"):
        read_ids(tmp_path / "empty.txt")


def test_books_arrive_as_phiray_reads_them(tmp_path: Path, server: FaultyServer) -> None:
    serve_books(server, 84, 1342)
    fetched = fetch(tmp_path, server, 84, 1342)
    assert fetched == len(book(84)) + len(book(1342))
    found = read_book(tmp_path / "books" / "pg84.txt", path="gutenberg/books/pg84.txt")
    assert isinstance(found, Document)
    assert found.text == "It was the best of times, number 84."
    assert sorted(path.name for path in (tmp_path / ".fetch").iterdir()) == ["files.jsonl", "lock"]


def test_index_names_each_book_and_keeps_lines_of_others(
    tmp_path: Path, server: FaultyServer
) -> None:
    (tmp_path / "index.jsonl").write_text('{"file": "books/pg5.txt"}\nnot JSON\n')
    serve_books(server, 84)
    fetch(tmp_path, server, 84)
    fetch(tmp_path, server, 84)
    own, other, last = (tmp_path / "index.jsonl").read_text().splitlines()
    assert (own, other) == ('{"file": "books/pg5.txt"}', "not JSON")
    line = json.loads(last)
    assert (line["file"], line["ebook"]) == ("books/pg84.txt", 84)
    assert (line["title"], line["author"]) == ("Book 84", "Somebody")
    assert line["bytes"] == len(book(84))
    assert str(line["url"]).endswith("/cache/epub/84/pg84.txt")


def test_a_second_run_asks_for_nothing(tmp_path: Path, server: FaultyServer) -> None:
    serve_books(server, 84, 1342)
    fetch(tmp_path, server, 84, 1342)
    before = len(server.log)
    assert fetch(tmp_path, server, 84, 1342) == 0
    assert len(server.log) == before


def test_requests_are_kept_apart(tmp_path: Path, server: FaultyServer) -> None:
    serve_books(server, *range(1, 11))
    started = time.monotonic()
    fetch(tmp_path, server, *range(1, 11))
    assert time.monotonic() - started >= 9 * PAUSE_SECONDS


@pytest.mark.parametrize(
    ("number", "path"),
    [(1342, "/1/3/4/1342/1342-0.txt"), (84, "/8/84/84.txt"), (7, "/0/7/7-8.txt")],
)
def test_a_book_is_looked_for_in_the_collection_too(
    tmp_path: Path, server: FaultyServer, number: int, path: str
) -> None:
    server.files[path] = book(number)
    fetch(tmp_path, server, number)
    assert (tmp_path / "books" / f"pg{number}.txt").read_bytes() == book(number)


def test_few_missing_books_are_told_and_many_fail(tmp_path: Path, server: FaultyServer) -> None:
    listener = Listener()
    serve_books(server, *range(1, 20))
    fetch(tmp_path, server, *range(1, 21), listener=listener)
    assert listener.notes == ["1 of 20 books are left out: 20 (not on the mirror)"]
    with pytest.raises(FetchError, match=r"2 of 20 books are left out: 20 .*, 21 ") as caught:
        fetch(tmp_path, server, *range(2, 22))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    assert len(index_of(tmp_path)) == 19


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (book(5, language="French"), "its language is 'French'"),
        (
            book(5, extra="** This is a COPYRIGHTED Project Gutenberg eBook, Details Below **"),
            "it is under copyright",
        ),
    ],
)
def test_what_is_no_book_for_phiray_is_left_out_and_not_fetched_again(
    tmp_path: Path, server: FaultyServer, body: bytes, fault: str
) -> None:
    server.files["/cache/epub/5/pg5.txt"] = body
    for _ in range(2):
        with pytest.raises(FetchError, match=rf"5 \({fault}\)"):
            fetch(tmp_path, server, 5)
    assert len(server.log) == 1
    assert not (tmp_path / "books").exists()


def test_a_page_in_place_of_a_book_ends_the_command_and_is_not_remembered(
    tmp_path: Path, server: FaultyServer
) -> None:
    serve_books(server, 5)
    server.answers["/cache/epub/5/pg5.txt"] = [Answer(body=b"<html>please log in</html>")]
    with pytest.raises(DataError, match=r"pg5.txt is no book of Project Gutenberg: .*log in"):
        fetch(tmp_path, server, 5)
    fetch(tmp_path, server, 5)
    assert (tmp_path / "books" / "pg5.txt").read_bytes() == book(5)


def test_a_broken_off_list_goes_on(tmp_path: Path, server: FaultyServer) -> None:
    serve_books(server, 1, 2, 3)
    server.answers["/cache/epub/2/pg2.txt"] = [Answer(503)] * 4
    with pytest.raises(FetchError, match=r"pg2\.txt: the server answered 503, 4 times"):
        fetch(tmp_path, server, 1, 2, 3)
    fetch(tmp_path, server, 1, 2, 3)
    assert len(server.asked("/cache/epub/1/pg1.txt")) == 1
    assert sorted(path.name for path in (tmp_path / "books").iterdir()) == [
        f"pg{n}.txt" for n in (1, 2, 3)
    ]


def test_real_headers_say_what_the_look_relies_on() -> None:
    assert book_fault("Project Gutenberg's Alice\nLanguage: english\n") is None
    assert book_fault("The Project Gutenberg Etext of Emma") is None
    assert book_fault("Project Gutenberg\nLanguage: English, French\n") == (
        "its language is 'English, French'"
    )
