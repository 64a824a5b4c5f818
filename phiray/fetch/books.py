"""Books of Project Gutenberg by their numbers, from a mirror, one every two seconds.

Source: the paths of Gutenberg's generated files (cache/epub/N/pgN.txt) and of its collection
(1/3/4/1342/1342-0.txt); https://www.gutenberg.org/policy/robot_access.html, which sends robots to
mirrors and asks for two seconds between requests.
Limits: what a header says of language and copyright is believed. The mirror tells no hash: a new
book is checked by its size alone; its sha256 is kept from then on.
"""

import importlib.resources
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from phiray.errors import DataError, ExitCode, FetchError
from phiray.fetch.sources import BookSource, RemoteFile
from phiray.fetch.workplace import Workplace

MAX_LEFT_OUT_FRACTION = 0.05
"""Share (0..1) of a list that may be gone or unwanted before the command fails."""
_LIST = "book_ids.txt"
_INDEX = "index.jsonl"
_MAX_DIGITS = 7
_HEAD_BYTES = 20_000
_LANGUAGE = re.compile(r"^Language:\s*(\S.*?)\s*$", re.M | re.I)
_COPYRIGHTED = re.compile(r"\bThis is a COPYRIGHTED Project Gutenberg", re.I)
_ENGLISH = "english"
_GUTENBERG = "project gutenberg"


def read_ids(file: Path | None) -> list[int]:
    """Read a list of book numbers: one on a line, `#` begins a comment.

    Args:
        file: the list; None takes the one that phiray brings.

    Raises:
        DataError: if there is no such file (66), or a line is no number (65).
    """
    if file is None:
        name = _LIST
        text = importlib.resources.files("phiray.fetch").joinpath(_LIST).read_text()
    else:
        name = str(file)
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
            raise DataError(
                f"{file} cannot be read as a list of books ({type(error).__name__}). Expected a "
                "text file with a Gutenberg number on each line. Name one with --ids.",
                exit_code=ExitCode.MISSING_INPUT,
            ) from error
    ids: dict[int, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        if not (word.isascii() and word.isdecimal()) or len(word) > _MAX_DIGITS or not int(word):
            raise DataError(
                f"{name}:{number} is {word!r:.40}. Expected the number of a book, such as 1342. "
                "Mend the line, or put a # in front of it."
            )
        ids[int(word)] = None
    if not ids:
        raise DataError(f"{name} names no book. Expected at least one number. Add some.")
    return list(ids)


def fetch_books(source: BookSource, workplace: Workplace, *, ids: Sequence[int]) -> int:
    """Fetch the books that are not there; return how many bytes came over the network.

    Raises:
        DataError: if the mirror sends something else (65).
        FetchError: if the mirror does not give them, or if more than a small share of them is not
            there or not wanted (66), when all others are in place.
    """
    ledger, downloader = workplace.ledger, workplace.downloader
    missing = [
        book
        for book in ids
        if not ledger.is_there(_path(book)) and _path(book) not in ledger.refused
    ]
    workplace.check_room(len(missing) * source.mean_book_bytes, what=f"{len(missing)} books")
    fetched, gone = 0, []
    pause = _Pause(source.pause_seconds)
    for number, book in enumerate(missing):
        downloader.progress("fetch books", number, len(missing))
        arrived = _fetch_book(book, source, workplace, pause=pause)
        if arrived is None:
            gone.append(book)
        else:
            fetched += arrived
    if missing:
        downloader.progress("fetch books", len(missing), len(missing))
    _write_index(workplace)
    refused = [book for book in ids if _path(book) in ledger.refused]
    _tell_left_out(ids, gone=gone, refused=refused, workplace=workplace)
    return fetched


class _Pause:
    """Keeps requests apart."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def wait(self) -> None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + self._seconds


def _path(book: int) -> str:
    return f"books/pg{book}.txt"


def _urls(book: int, source: BookSource) -> Iterator[str]:
    """Yield where a book may lie, the form that all books have first."""
    yield f"{source.mirror}cache/epub/{book}/pg{book}.txt"
    folders = "/".join(str(book)[:-1]) or "0"
    for ending in ("-0", "", "-8"):
        yield f"{source.mirror}{folders}/{book}/{book}{ending}.txt"


def _fetch_book(
    book: int, source: BookSource, workplace: Workplace, *, pause: _Pause
) -> int | None:
    """Fetch one book, look at it, and put it in place; None if the mirror does not have it."""
    path, part = _path(book), workplace.part(_path(book))
    for url in _urls(book, source):
        pause.wait()
        remote = RemoteFile(url, path, source.max_book_bytes)
        try:
            arrived = workplace.downloader.fetch(remote, part, quiet=True)
        except FetchError as error:
            if error.exit_code != ExitCode.MISSING_INPUT:
                raise
            continue
        head = _head(part.path)
        if _GUTENBERG not in head.lower():
            part.drop()
            raise DataError(
                f"{url} is no book of Project Gutenberg: it begins with {head[:40]!r}. Expected "
                "its text. A proxy may have sent a page of its own: look at the URL in a browser, "
                "and give the same command again."
            )
        fault = book_fault(head)
        if fault is not None:
            workplace.ledger.refuse(path, fault)
            part.drop()
        else:
            workplace.accept(remote, arrived)
        return arrived.fetched_bytes
    return None


def book_fault(head: str) -> str | None:
    """Say why a book is none for phiray; None if it is one.

    Args:
        head: its beginning.
    """
    if _COPYRIGHTED.search(head):
        return "it is under copyright"
    language = _LANGUAGE.search(head)
    if language is not None and language[1].lower() != _ENGLISH:
        return f"its language is {language[1]!r:.40}"
    return None


def _head(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(_HEAD_BYTES).decode("utf-8", errors="replace")


def _write_index(workplace: Workplace) -> None:
    """Keep a line about each book; those of books that came from elsewhere stay."""
    ledger = workplace.ledger
    ours = {path: entry for path, entry in ledger.entries.items() if ledger.is_there(path)}
    file = workplace.folder / _INDEX
    lines = [line for line in _lines(file) if _file_of(line) not in ours]
    for path, entry in sorted(ours.items()):
        head = _head(workplace.folder / path)
        record = {
            "file": path,
            "ebook": int(re.sub(r"\D", "", path)),
            "title": _field("Title", head),
            "author": _field("Author", head),
            "bytes": entry.num_bytes,
            "sha256": entry.sha256,
            "url": entry.url,
        }
        lines.append(json.dumps(record))
    fresh = workplace.work / _INDEX
    fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    fresh.replace(file)


def _lines(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return [line for line in text.split("\n") if line]


def _file_of(line: str) -> str | None:
    """Return the file that a line of the index is about; None for a line that is none of ours."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return str(record.get("file")) if isinstance(record, dict) else None


def _field(name: str, head: str) -> str | None:
    found = re.search(rf"^{name}:[ \t]*(\S.*?)\s*$", head, re.M)
    return found[1] if found is not None else None


def _tell_left_out(
    ids: Sequence[int], *, gone: list[int], refused: list[int], workplace: Workplace
) -> None:
    why = workplace.ledger.refused
    found = [f"{book} (not on the mirror)" for book in gone]
    found += [f"{book} ({why[_path(book)]})" for book in refused]
    if not found:
        return
    message = f"{len(found)} of {len(ids)} books are left out: {', '.join(found)}"
    if len(found) > MAX_LEFT_OUT_FRACTION * len(ids):
        raise FetchError(
            f"{message:.1500}. At most {MAX_LEFT_OUT_FRACTION:.0%} of a list may be. The others "
            "are in place. Correct the list, and name it with --ids.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    workplace.downloader.note(message)
