"""Project Gutenberg text files: the book alone, without header, credits and licence.

Source: the marker forms of Gutenberg's own files since 1999 (`*** START OF TH(E|IS) PROJECT
GUTENBERG EBOOK`, `***START`, `ETEXT`, and no end marker but a restated title), seen in real files.
Limits: notes of a transcriber in the middle of a book stay; a declared encoding is never believed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phiray.data.sources.records import BadDocument, Document, Entry, text_fault
from phiray.data.split import book_key, document_key

PATTERN = "gutenberg/books/*.txt"

_OF_THE_EBOOK = r"OF TH(?:E|IS) PROJECT GUTENBERG E(?:BOOK|TEXT)\b"
_START = re.compile(rf"^[ \t]*\*\*\* ?START {_OF_THE_EBOOK}[^*]*(?:\*+)?", re.I | re.M)
_SMALL_PRINT_END = re.compile(r"^[ \t]*\*END\b[ *]*THE SMALL PRINT!.*\*END\*.*$", re.I | re.M)
"""Ends the header of the oldest files, which have no START marker; later ones close with it."""
_NAME = re.compile(r"G(?:utenberg|UTENBERG)")
"""Stands in every line that the two below look for; a plain search for it is ten times faster."""
_END = re.compile(
    rf"[ \t]*(?:\*\*\* ?END {_OF_THE_EBOOK}"
    r"|(?:This is the )?End of (?:the |this )?Project Gutenberg)",
    re.I,
)
_TITLE_AGAIN = re.compile(r"The Project Gutenberg E(?:book|text) of ", re.I)
"""In the oldest files the first sign of the footer; elsewhere it may open the book."""
_CREDIT = re.compile(
    r"(?:\[?(?:This )?(?:e-?(?:text|book) )?(?:was )?"
    r"(?:Produced|Prepared|Transcribed|Scanned|Digitized)\b"
    r"|The Project Gutenberg E|Special thanks\b|An Anonymous\b.*Volunteer"
    r"|Note: .*Project Gutenberg|Updated editions\b|HTML version\b|\*+$)",
    re.I | re.S,
)
_LICENCE = re.compile(r"Gutenberg(?:-tm)?\s+(?:Licen[sc]e|Literary\s+Archive\s+Foundation)", re.I)
_HEADER_NUMBER = re.compile(r"\[\s*E-?(?:book|text)\s*#\s*(\d{1,12})\s*\]", re.I)
_NAME_NUMBER = re.compile(r"(?:^|[^0-9a-z])pg(\d{1,12})|^(\d{1,12})(?:-\d+)?$", re.I)
_HEADER_SIZE = 10_000
"""Characters searched for the book's number; the longest real header has 2,300."""
_ENCODINGS = ("utf-8-sig", "cp1252")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Book:
    """What a Gutenberg file holds."""

    number: int | None
    """Gutenberg's number; None where neither header nor file name tell it."""
    text: str
    """The book alone, with LF at line ends, and no blank lines around it."""


def scan_file(file: Path, *, path: str) -> Iterator[Entry]:
    """Read the one book of a file."""
    yield read_book(file, path=path)


def read_book(file: Path, *, path: str, offset: int = 0) -> Entry:
    """Read a file as a document, or say why it is none.

    Args:
        file: where it lies.
        path: its name below the data root.
        offset: always 0: a file is one book.
    """
    text = decode_text(file.read_bytes())
    if "\0" in text:
        return BadDocument(path, "not text", f"a NUL at character {text.index(chr(0))}")
    book = parse_book(text, name=file.stem)
    fault = text_fault(book.text)
    if fault is not None:
        return BadDocument(path, *fault)
    licence = _find_licence(book.text)
    if licence is not None:
        return BadDocument(path, "licence text", f"{licence!r} remains in the book")
    key = document_key(book.text) if book.number is None else book_key(book.number)
    return Document(key, book.text, path, offset)


def decode_text(data: bytes) -> str:
    """Decode bytes as UTF-8 if they are, else as the Windows or ISO form of Latin-1.

    The encoding that a header declares is often wrong; valid UTF-8 with non-ASCII in it is never
    Latin-1 by chance.
    """
    encodings = ("utf-16",) if data.startswith(_UTF16_MARKS) else _ENCODINGS
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def parse_book(text: str, *, name: str) -> Book:
    """Cut header, credits and footer away; a text without them is left whole.

    Args:
        text: with LF at line ends.
        name: file name without its ending, the second place to look for the number.
    """
    start = _START.search(text) or _old_header_end(text)
    body = text if start is None else text[start.end() :]
    body = body[: _footer_start(body)]
    if start is not None:
        body = _strip_credits(body)
    return Book(_book_number(text[:_HEADER_SIZE], name=name), body.strip())


def _old_header_end(text: str) -> re.Match[str] | None:
    end = _SMALL_PRINT_END.search(text)
    return end if end is not None and end.start() < _footer_start(text) else None


def _footer_start(body: str) -> int:
    """Find the first line that no longer belongs to the book."""
    for name in _NAME.finditer(body):
        line_start = body.rfind("\n", 0, name.start()) + 1
        is_end = _END.match(body, line_start) is not None
        is_late = line_start > len(body) // 2
        if is_end or (is_late and _TITLE_AGAIN.match(body, line_start)):
            return line_start
    return len(body)


def _find_licence(book: str) -> str | None:
    """Give the first words of a licence that are left in a book."""
    for name in _NAME.finditer(book):
        found = _LICENCE.match(book, name.start())
        if found is not None:
            return found.group(0)
    return "SMALL PRINT!" if "SMALL PRINT!" in book else None


def _book_number(header: str, *, name: str) -> int | None:
    found = _HEADER_NUMBER.search(header) or _NAME_NUMBER.search(name)
    return None if found is None else int(found.group(found.lastindex or 1))


def _strip_credits(body: str) -> str:
    """Drop the paragraphs at the top in which those who made the file name themselves."""
    rest = body.lstrip()
    while _CREDIT.match(rest.partition("\n\n")[0]):
        rest = rest.partition("\n\n")[2].lstrip()
    return rest
