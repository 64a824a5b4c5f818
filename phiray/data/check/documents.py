"""Look through books and web rows for what is unusable, double, leaking, or not what it says.

Source: the readers of `phiray/data/sources` judge each document, here as in training.
Limits: texts are compared as a whole, apart from white space: a chapter that stands in two books is
not found. 40 bytes are kept of each document.
"""

import re
from array import array
from pathlib import Path

from phiray.config.data import SplitConfig
from phiray.data.check.repeats import Repeats
from phiray.data.check.report import CheckReport
from phiray.data.sources.documents import TextSource, iter_documents, source_files
from phiray.data.sources.records import BadDocument, Document
from phiray.data.split import is_heldout
from phiray.types import Progress

_DECLARED = re.compile(rb"^[ \t]*Character set encoding:[ \t]*([^\r\n]+)", re.I | re.M)
_HEADER_BYTES = 10_000
_UTF8_NAMES = re.compile(r"utf-?8|unicode", re.I)


def check_documents(
    source: TextSource,
    root: Path,
    report: CheckReport,
    *,
    split: SplitConfig,
    progress: Progress | None = None,
) -> None:
    """Count documents by part; equal texts under two keys are copies, or leaks.

    Raises:
        DataError: with exit code 66 if there are no files.
    """
    files = source_files(source, root)
    check = _DocumentCheck(source, report, split=split)
    for entry in iter_documents(source, root, progress=progress):
        if isinstance(entry, BadDocument):
            place = f"{entry.where}: {entry.detail}"
            report.find(f"{source}: {entry.reason}", place, of=check.unit)
            report.add_total(check.unit, 1)
        else:
            check.add(entry)
    check.report_repeats()
    if source == "gutenberg":
        for file in files:
            _check_encoding(file, report)


class _DocumentCheck:
    """The documents of one data set, one after the other."""

    def __init__(self, source: TextSource, report: CheckReport, *, split: SplitConfig) -> None:
        self.unit = f"{source} documents"
        self._source = source
        self._report = report
        self._split = split
        self._texts = Repeats()
        self._keys = Repeats()
        self._is_heldout = bytearray()
        self._offsets = array("q")
        self._paths: dict[str, None] = {}
        self._path_numbers = array("q")
        for part in ("train", "held-out"):
            report.counts.setdefault(self._count(part), 0)

    def add(self, document: Document) -> None:
        """Count a document that can be used."""
        split = self._split
        heldout = is_heldout(document.key, salt=split.salt, heldout_fraction=split.heldout_fraction)
        self._report.add_count(self._count("held-out" if heldout else "train"), 1)
        self._report.add_total(self.unit, 1)
        self._texts.add(" ".join(document.text.split()))
        self._keys.add(document.key)
        self._is_heldout.append(heldout)
        self._offsets.append(document.offset)
        if document.path not in self._paths:
            self._paths[document.path] = None
        self._path_numbers.append(len(self._paths) - 1)

    def report_repeats(self) -> None:
        """Report texts that stand twice, by the sides and keys that they stand under."""
        source, report = self._source, self._report
        paths = list(self._paths)
        for first, repeat in self._texts.find():
            place = f"{self._place(first, paths)} = {self._place(repeat, paths)}"
            if self._is_heldout[first] != self._is_heldout[repeat]:
                report.leak(f"{source} leak: one text in train and held-out", place)
            elif self._keys.are_equal(first, repeat):
                report.note(f"{source}: one text twice", place)
            else:
                report.find(f"{source}: one text under two ids", place, of=self.unit)

    def _place(self, position: int, paths: list[str]) -> str:
        path, offset = paths[self._path_numbers[position]], self._offsets[position]
        return f"{path}:{offset}" if offset else path

    def _count(self, part: str) -> str:
        return f"{self._source} {part} documents"


def _check_encoding(file: Path, report: CheckReport) -> None:
    """Note a book whose header names an encoding that it does not have; its bytes are believed."""
    data = file.read_bytes()
    declared = _DECLARED.search(data[:_HEADER_BYTES])
    if declared is None or data.isascii():
        return
    name = declared.group(1).decode("latin-1").strip()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        found = "no UTF-8"
    else:
        found = "UTF-8"
    if (_UTF8_NAMES.search(name) is not None) != (found == "UTF-8"):
        report.note("encoding is not what the book says", f"{file}: says {name}, is {found}")
