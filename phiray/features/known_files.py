"""Hashes of files, remembered by what their storage says of them, so that each is read once.

    known = KnownFiles(Path("features/known_files.json"))
    known.hash_of(path)         # reads the file only if it may have changed
    known.save()

Source: git's index: size, times of change of content and of the entry, and the inode. Nobody can
set the second of the times, so neither a file of the same size nor an old date hides a change.
Limits: a file that changed less than RACY_SECONDS before it was hashed is hashed again next time,
as clocks of file systems tick slowly; a file server whose clock is further behind this node's than
that is trusted too early. Of storage by URL its tag or date is what counts; files of storage that
gives neither are read each time. What a disk loses of an unchanged file is not seen.
"""

import hashlib
import json
import logging
import os
import time
from pathlib import Path

from phiray.checkpoints.files import write_text
from phiray.storage import AnyPath, UrlPath, version_now, version_of

RACY_SECONDS = 2.0
"""The coarsest clock of a file system in use, that of FAT."""

Seen = list[int | str]
"""What tells a version of a file from another."""

_log = logging.getLogger(__name__)


class KnownFiles:
    """The memory of one cache."""

    def __init__(self, file: Path) -> None:
        """Read what an earlier process remembered; what cannot be read is forgotten."""
        self._file = file
        self._entries: dict[str, tuple[Seen, str]] = {}
        self._is_changed = False
        try:
            content = json.loads(file.read_bytes())
            self._entries = {path: (seen, digest) for path, (seen, digest) in content.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("event=known_files_broken file=%s why=%s", file, error)

    def hash_of(self, path: AnyPath) -> str:
        """Return the sha256 of a file in hex.

        Raises:
            OSError: if it cannot be read.
        """
        seen = _look(path)
        entry = self._entries.get(str(path))
        if entry is not None and entry[0] == seen:
            return entry[1]
        with path.open("rb") as file:
            seen = _seen(os.fstat(file.fileno())) if isinstance(path, Path) else seen
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _is_settled(path, seen):
            self._entries[str(path)] = (seen, digest)
            self._is_changed = True
        return digest

    def save(self) -> None:
        """Write the memory if there is anything new in it.

        Raises:
            OSError: if it cannot be written.
        """
        if self._is_changed:
            write_text(self._file, json.dumps(self._entries))
            self._is_changed = False


def _look(path: AnyPath) -> Seen:
    if isinstance(path, UrlPath):
        version = version_of(path)
        return [version.num_bytes, version.version]
    return _seen(path.stat())


def _seen(status: os.stat_result) -> Seen:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _is_settled(path: AnyPath, seen: Seen) -> bool:
    """Tell whether a file that was read is what it was before, and would look new if it changed."""
    if isinstance(path, UrlPath):
        now = version_now(path)
        return now.version != "" and [now.num_bytes, now.version] == seen
    if _seen(path.stat()) != seen:
        return False
    newest = max(int(seen[1]), int(seen[2]))
    return time.time_ns() - newest > RACY_SECONDS * 1e9
