"""Files that stay mapped into memory while they are what they were, through a node's cache.

    files = MappedFiles(NodeCache("/mnt/disk/phiray"))
    tokens = files.map(Path("/shared/prepared/tokens.bin"), sha256="...", dtype="uint16")

Source: DESIGN 6; mapping a file takes as long as reading thousands of tokens.
Limits: what is told by size, inode and time of change, as in the cache itself.
"""

import os
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phiray.data.cache.node_cache import NodeCache

MAX_MAPPED = 512
"""Each mapped file holds a descriptor, of which many systems allow a process 1,024."""


@dataclass(frozen=True)
class _Mapped:
    """One file, and what the disk said of it when it was opened."""

    path: Path
    """Of the node's copy, or of the file itself."""
    seen: tuple[int, int, int]
    array: npt.NDArray[np.integer]


class MappedFiles:
    """Map files when they are first asked for; pickled, it is empty."""

    def __init__(self, cache: NodeCache) -> None:
        """Read through `cache`."""
        self._cache = cache
        self._mapped: OrderedDict[str, _Mapped] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle the cache's settings alone."""
        return MappedFiles, (self._cache,)

    def map(self, file: Path, *, sha256: str, dtype: str) -> npt.NDArray[np.integer]:
        """Map a file, or give it as it is mapped.

        Raises:
            OSError: as opening the file does.
            DataError: if it is not what its manifest names.
        """
        name = str(file)
        with self._lock:
            mapped = self._mapped.get(name)
            if mapped is None or not self._is_unchanged(mapped):
                mapped = self._open(file, sha256=sha256, dtype=dtype)
                self._mapped[name] = mapped
            self._mapped.move_to_end(name)
            if len(self._mapped) > MAX_MAPPED:
                self._mapped.popitem(last=False)
        return mapped.array

    def _open(self, file: Path, *, sha256: str, dtype: str) -> _Mapped:
        with self._cache.open(file, sha256=sha256) as opened:
            status = os.fstat(opened.fileno())
            array = np.memmap(opened, dtype=dtype, mode="r")
            return _Mapped(Path(opened.name), _seen(status), array.view(np.ndarray))

    def _is_unchanged(self, mapped: _Mapped) -> bool:
        """Ask the disk; tell the cache that a copy is in use, or it would be the first to go."""
        try:
            status = mapped.path.stat()
        except OSError:
            return False
        if _seen(status) != mapped.seen:
            return False
        if self._cache.folder is not None:
            with suppress(OSError):
                os.utime(mapped.path, ns=(time.time_ns(), status.st_mtime_ns))
        return True


def _seen(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns
