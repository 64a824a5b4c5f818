"""What a data set was made of, as JSON: files with their hashes, split, tokenizer, counts.

Source: DESIGN 6 and 9: a run's manifest names the hash of every input.
Limits: hashing reads every file once, about 1 GB/s.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from phiray.errors import DataError, ExitCode, exit_code_of
from phiray.types import Progress

Setting = str | int | float | None


@dataclass(frozen=True)
class FileEntry:
    """One file, as it was when it was read."""

    path: str
    """Below the root that the manifest speaks of, with '/'."""
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class DataManifest:
    """All that a data set depends on, and what came out of it."""

    name: str
    """Data set: `gutenberg` or `redpajama`."""
    files: tuple[FileEntry, ...]
    """What was read."""
    tokenizer: str
    """Fingerprint of the tokenizer."""
    settings: Mapping[str, Setting]
    """Split, lengths and limits: all else that the rows depend on."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """What came out: rows, tokens, documents used and held out."""
    bad_counts: Mapping[str, int] = field(default_factory=dict)
    """What could not be used, by reason."""
    outputs: tuple[FileEntry, ...] = ()
    """What was written."""

    @property
    def fingerprint(self) -> str:
        """Hash of the inputs: equal for equal rows, and known before they are made."""
        inputs = {
            "name": self.name,
            "files": [asdict(file) for file in self.files],
            "tokenizer": self.tokenizer,
            "settings": dict(self.settings),
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """Write as JSON for people and programs."""
        return json.dumps({**asdict(self), "fingerprint": self.fingerprint}, indent=2) + "\n"

    @staticmethod
    def from_json(text: str) -> "DataManifest":
        """Read what `to_json` wrote.

        Raises:
            DataError: if it is anything else, or was changed by hand.
        """
        try:
            values = json.loads(text)
            fingerprint = values.pop("fingerprint")
            for name in ("files", "outputs"):
                values[name] = tuple(FileEntry(**entry) for entry in values[name])
            manifest = DataManifest(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"A data manifest cannot be read: {error}. Expected what phiray wrote. Delete the "
                "folder it lies in; it is made again."
            ) from error
        if manifest.fingerprint != fingerprint:
            raise DataError(
                f"A data manifest has the fingerprint {fingerprint}, but its content gives "
                f"{manifest.fingerprint}: it was changed. Delete the folder it lies in; it is made "
                "again."
            )
        return manifest


def file_entry(file: Path, *, root: Path) -> FileEntry:
    """Measure and hash a file.

    Raises:
        DataError: if it cannot be read (66, 77 or 74).
    """
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            num_bytes = stream.tell()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read: {error.strerror}. Expected a file that this user may read. "
            "Put it back, or correct its permissions.",
            exit_code=_exit_code(error),
        ) from error
    return FileEntry(file.relative_to(root).as_posix(), num_bytes, digest)


def file_entries(
    files: Iterable[Path], *, root: Path, progress: Progress | None = None
) -> tuple[FileEntry, ...]:
    """Measure and hash files, in their order."""
    listed = list(files)
    entries = []
    for number, file in enumerate(listed, start=1):
        entries.append(file_entry(file, root=root))
        if progress is not None:
            progress("hash files", number, len(listed))
    return tuple(entries)


def _exit_code(error: OSError) -> ExitCode:
    if isinstance(error, FileNotFoundError):
        return ExitCode.MISSING_INPUT
    return exit_code_of(error) or ExitCode.IO
