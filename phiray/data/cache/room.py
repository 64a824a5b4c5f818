"""How much a node's cache may hold, and what goes when it is full: what was not used for longest.

Source: least recently used; the time of use is a file's atime, which whoever opens it sets, since
disks are mounted so that reading alone does not.
Limits: exact for one process; up to PROCESSES of them, each with its share of what is left, keep
the bound together, but for files that they begin to write at the same moment. Files are unlinked:
whoever has one open or mapped reads on, and its bytes are free after that. What is not named like a
copy is not the cache's, and stays.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROCESSES = 64
"""Processes of a node that may fill its cache at once: eight workers with seven readers each."""
KEPT_FREE_FRACTION = 0.1
"""Share (0..1) of the disk that stays free: above 95 % full, Ray spills nothing to it any more."""
KEPT_FRACTION = 0.9
"""Share (0..1) of the bound that stays when files must go, so that it is rarely looked for more."""

PARTIAL = ".partial-"
"""How the name of a copy that is being written begins."""
_COPY = re.compile(rf"(?:[0-9a-f]{{32}}-)?[0-9a-f]{{64}}|{re.escape(PARTIAL)}.*")


@dataclass(frozen=True, order=True)
class _Entry:
    """One file of the cache."""

    used_at: float
    num_bytes: int
    path: Path


class CacheRoom:
    """Room in one folder, as far as this process may fill it."""

    def __init__(self, folder: Path, *, max_bytes: int | None) -> None:
        """Look at nothing yet.

        Args:
            folder: of the cache; its files lie one folder below.
            max_bytes: bound; none takes what the disk can spare.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._left = 0

    def take(self, num_bytes: int) -> bool:
        """Make room for a file; say whether there is any.

        Raises:
            OSError: if the folder cannot be looked at.
        """
        if num_bytes <= self._left:
            self._left -= num_bytes
            return True
        entries = sorted(_entries(self._folder))
        used = sum(entry.num_bytes for entry in entries)
        bound = self._bound(used)
        if num_bytes > bound:
            return False
        if used + num_bytes > bound:
            used = _shrink(entries, to_bytes=max(0, int(KEPT_FRACTION * bound) - num_bytes))
        self._left = max(0, bound - used - num_bytes) // PROCESSES
        return True

    def _bound(self, used: int) -> int:
        """Return the bytes that the cache may hold, by its setting and by its disk."""
        disk = shutil.disk_usage(self._folder)
        spare = used + disk.free - int(KEPT_FREE_FRACTION * disk.total)
        return spare if self._max_bytes is None else min(spare, self._max_bytes)


def _entries(folder: Path) -> Iterator[_Entry]:
    """List the copies in a cache, those that are being written among them."""
    for below in folder.iterdir():
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(below) as files:
            for file in files:
                if not _COPY.fullmatch(file.name):
                    continue
                with suppress(FileNotFoundError):  # another process makes room as well
                    status = file.stat()
                    used_at = max(status.st_atime, status.st_mtime)
                    yield _Entry(used_at, status.st_size, Path(file.path))


def _shrink(entries: list[_Entry], *, to_bytes: int) -> int:
    """Delete files, the first ones first; return the bytes of those that stay."""
    used = sum(entry.num_bytes for entry in entries)
    for entry in entries:
        if used <= to_bytes:
            break
        entry.path.unlink(missing_ok=True)
        used -= entry.num_bytes
    return used
