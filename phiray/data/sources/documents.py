"""The documents of a data set by its name: found, split, and read again one by one.

Source: the layouts of the real downloads, below one root folder.
Limits: the index keeps about 400 bytes a document in memory: 400 MB for the million documents of
RedPajama-Data-1T-Sample.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, get_args

from phiray.config.data import SplitConfig
from phiray.data.sources import gutenberg, redpajama
from phiray.data.sources.records import BadDocument, Document, Entry
from phiray.data.split import Part, part_of, split_fraction
from phiray.errors import DataError, ExitCode
from phiray.types import Progress

TextSource = Literal["gutenberg", "redpajama"]


class _ScanFile(Protocol):
    def __call__(self, file: Path, *, path: str) -> Iterator[Entry]: ...


class _ReadAgain(Protocol):
    def __call__(self, file: Path, *, path: str, offset: int) -> Entry: ...


@dataclass(frozen=True)
class _Reader:
    pattern: str
    scan_file: _ScanFile
    read_again: _ReadAgain


_READERS: dict[TextSource, _Reader] = {
    "gutenberg": _Reader(gutenberg.PATTERN, gutenberg.scan_file, gutenberg.read_book),
    "redpajama": _Reader(redpajama.PATTERN, redpajama.scan_file, redpajama.read_row),
}


@dataclass(frozen=True)
class DocumentRef:
    """Where a document is, without its text."""

    key: str
    path: str
    offset: int
    num_bytes: int


@dataclass(frozen=True)
class DocumentIndex:
    """All documents of a data set, each in its part; copies of one count once."""

    train: list[DocumentRef] = field(default_factory=list)
    validation: list[DocumentRef] = field(default_factory=list)
    heldout: list[DocumentRef] = field(default_factory=list)
    bad: list[BadDocument] = field(default_factory=list)
    duplicates: list[DocumentRef] = field(default_factory=list)

    @property
    def num_documents(self) -> int:
        """All that was found, usable or not."""
        usable = sum(len(self.part(part)) for part in get_args(Part))
        return usable + len(self.bad) + len(self.duplicates)

    def part(self, part: Part) -> list[DocumentRef]:
        """Return the documents of a part."""
        return {"train": self.train, "validation": self.validation, "heldout": self.heldout}[part]

    @property
    def bad_counts(self) -> dict[str, int]:
        """How many documents cannot be used, by reason."""
        return dict(sorted(Counter(bad.reason for bad in self.bad).items()))


def source_files(source: TextSource, root: Path) -> list[Path]:
    """List the files of a data set, sorted by name.

    Raises:
        DataError: if there are none (66).
    """
    pattern = _READERS[source].pattern
    files = sorted(file for file in root.glob(pattern) if file.is_file())
    if not files:
        raise DataError(
            f"No {source} data at {root / pattern}. Expected at least one such file. Set data.root "
            f"to the folder that holds {source}/.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return files


def iter_documents(
    source: TextSource, root: Path, *, progress: Progress | None = None
) -> Iterator[Entry]:
    """Read all documents of a data set in the order of files and lines.

    Raises:
        DataError: if there are no files (66).
    """
    files = source_files(source, root)
    for number, file in enumerate(files):
        if progress is not None:
            progress(f"read {source}", number, len(files))
        yield from _READERS[source].scan_file(file, path=file.relative_to(root).as_posix())
    if progress is not None:
        progress(f"read {source}", len(files), len(files))


def index_documents(
    source: TextSource, root: Path, *, split: SplitConfig, progress: Progress | None = None
) -> DocumentIndex:
    """Find all documents and give each its part.

    Each part is in the order of a hash of the keys: the first n documents of it are a fair sample
    of all files, and adding a file does not reorder the others.
    """
    index = DocumentIndex()
    seen: set[str] = set()
    for entry in iter_documents(source, root, progress=progress):
        if isinstance(entry, BadDocument):
            index.bad.append(entry)
            continue
        ref = DocumentRef(entry.key, entry.path, entry.offset, entry.num_bytes)
        if entry.key in seen:
            index.duplicates.append(ref)
            continue
        seen.add(entry.key)
        index.part(part_of(entry.key, split)).append(ref)
    by_hash = _hash_order(split.salt)
    for part in get_args(Part):
        index.part(part).sort(key=by_hash)
    return index


def read_document(source: TextSource, root: Path, *, ref: DocumentRef) -> Document:
    """Read one document of an index again.

    Raises:
        DataError: if its file has changed since.
    """
    file = root / ref.path
    try:
        entry = _READERS[source].read_again(file, path=ref.path, offset=ref.offset)
    except OSError as error:
        entry = BadDocument(ref.path, "unreadable", str(error.strerror))
    if isinstance(entry, BadDocument) or entry.key != ref.key:
        raise DataError(
            f"{file} no longer holds {ref.key} at byte {ref.offset}: it changed while it was being "
            "read. Expected data that stay as they are. Start again once they do."
        )
    return entry


def _hash_order(salt: str) -> Callable[[DocumentRef], float]:
    return lambda ref: split_fraction(ref.key, salt=f"{salt}:order")
