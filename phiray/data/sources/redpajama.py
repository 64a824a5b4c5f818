"""RedPajama rows: the `text` of each JSON line, whatever else stands in it.

Source: RedPajama-Data-1T-Sample. Rows of its seven sources differ in all but `text` (some have no
`meta`, and `meta.language` is a string or a list), so nothing else is looked at.
Limits: plain .jsonl; compressed files must be unpacked first.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from phiray.data.sources.records import BadDocument, Document, Entry, text_fault
from phiray.data.split import document_key

PATTERN = "redpajama/*.jsonl"


def scan_file(file: Path, *, path: str) -> Iterator[Entry]:
    """Read every row of a file, in order; empty lines are no rows."""
    offset = 0
    with file.open("rb") as stream:  # bytes: text mode would also split at U+2028 inside a row
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield parse_line(line, path=path, offset=offset, number=number)
            offset += len(line)


def read_row(file: Path, *, path: str, offset: int) -> Entry:
    """Read the one row that begins at a byte."""
    with file.open("rb") as stream:
        stream.seek(offset)
        return parse_line(stream.readline(), path=path, offset=offset, number=None)


def parse_line(line: bytes, *, path: str, offset: int, number: int | None) -> Entry:
    """Take the text out of a JSON line, or say why there is none.

    Args:
        line: one row.
        path: file below the data root.
        offset: byte where the line begins.
        number: of the line, from 1; None where it is not known.
    """
    where = f"{path}:{number}" if number is not None else f"{path}, byte {offset}"
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        return BadDocument(where, "not UTF-8", f"{error.reason} at byte {error.start} of the line")
    except (ValueError, RecursionError) as error:
        return BadDocument(where, "not JSON", str(error))
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        found = sorted(row) if isinstance(row, dict) else type(row).__name__
        return BadDocument(where, "no text", f"expected a string under 'text', found {found}")
    fault = text_fault(text)
    if fault is not None:
        return BadDocument(where, *fault)
    return Document(document_key(text), text, path, offset)
