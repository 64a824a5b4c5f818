"""What has arrived in the folder of a data set: a line for each file, with its size and sha256.

Source: an append-only log, as in `phiray/training/metrics_log.py`; its last line may be torn.
Limits: sizes are checked each time, hashes when asked for; who changes files and ledger alike is
not noticed. Nothing is flushed to the disk: lines that a power cut takes bring their files again.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from phiray.fetch.files import sha256_of
from phiray.types import Progress


@dataclass(frozen=True)
class Entry:
    """A file that arrived whole."""

    path: str
    """Below the folder of the data set."""
    num_bytes: int
    sha256: str
    url: str
    archive: str = ""
    """The archive that it came in, if it did."""


_FIELDS = {item.name for item in fields(Entry)}


@dataclass
class Ledger:
    """The lines, and the files that they are about."""

    folder: Path
    """Of the data set."""
    file: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    """Archives of which all wanted members are in `entries`."""
    refused: dict[str, str] = field(default_factory=dict)
    """Files that are not wanted although they were asked for, and why."""
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    @classmethod
    def open(cls, folder: Path, *, file: Path) -> "Ledger":
        """Read what is known of a folder."""
        ledger = cls(folder, file)
        for record in _records(file):
            if "finished" in record:
                ledger.finished.add(str(record["finished"]))
            elif "refused" in record:
                ledger.refused[str(record["refused"])] = str(record["why"])
            elif record.keys() == _FIELDS:
                entry = Entry(**record)  # type: ignore[arg-type]  # as `add` wrote it
                ledger.entries[entry.path] = entry
        return ledger

    def add(self, entries: Iterable[Entry]) -> None:
        """Note files; they may still be on the way to their names."""
        new = list(entries)
        self._append(asdict(entry) for entry in new)
        self.entries |= {entry.path: entry for entry in new}

    def finish(self, archive: str) -> None:
        """Note that all wanted members of an archive are there."""
        self._append([{"finished": archive}])
        self.finished.add(archive)

    def refuse(self, path: str, why: str) -> None:
        """Note that a file is not wanted, so that it is not fetched again."""
        self._append([{"refused": path, "why": why}])
        self.refused[path] = why

    def members(self, archive: str) -> list[Entry]:
        """Return what came in an archive."""
        return [entry for entry in self.entries.values() if entry.archive == archive]

    def is_there(self, path: str) -> bool:
        """Say whether a file is known, and there with its size."""
        entry = self.entries.get(path)
        if entry is None:
            return False
        try:
            return (self.folder / path).stat().st_size == entry.num_bytes
        except (FileNotFoundError, NotADirectoryError):
            return False

    def forget_damaged(self, *, progress: Progress) -> list[str]:
        """Hash all files that are there; forget and return those that are not what arrived."""
        there = [path for path in self.entries if self.is_there(path)]
        damaged = []
        for number, path in enumerate(there):
            progress("verify files", number, len(there))
            if sha256_of(self.folder / path, path, progress=None) != self.entries[path].sha256:
                damaged.append(path)
        progress("verify files", len(there), len(there))
        for path in damaged:
            (self.folder / path).unlink()
        return damaged

    def _append(self, records: Iterable[dict[str, object]]) -> None:
        """Add whole lines with one write; a torn one before them stays alone on its line."""
        text = "".join(f"{json.dumps(record)}\n" for record in records)
        if not text:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.file.open("ab") as file:
            torn = file.tell() > 0 and not _ends_line(self.file)
            file.write(("\n" if torn else "").encode() + text.encode())


def _ends_line(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def _records(file: Path) -> Iterator[dict[str, object]]:
    try:
        lines = file.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # empty, or torn
        if isinstance(record, dict):
            yield record
