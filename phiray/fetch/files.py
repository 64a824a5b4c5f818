"""Sizes and hashes of files, and how they are shown.

Source: units of 10**6 and 10**9 bytes, as disks and downloads are sold.
Limits: progress counts whole megabytes.
"""

import hashlib
from pathlib import Path

from phiray.types import Progress

MB = 10**6
_GB = 10**9
_CHUNK_BYTES = 2**20


def say_bytes(num_bytes: int) -> str:
    """Write a size as people read it: `1.2 GB`, `230.0 MB`."""
    unit, name = (_GB, "GB") if num_bytes >= _GB else (MB, "MB")
    return f"{num_bytes / unit:,.1f} {name}"


def show_bytes(progress: Progress, what: str, done: int, *, total: int) -> None:
    """Tell of progress in megabytes; the last one counts when the last byte is there."""
    all_of_it = max(1, -(-total // MB))
    progress(f"{what}, MB", all_of_it if done >= total else done // MB, all_of_it)


def sha256_of(path: Path, what: str, *, progress: Progress | None) -> str:
    """Hash a file.

    Args:
        path: of the file.
        what: is being done, for whoever waits.
        progress: told of it; none for small files.
    """
    digest = hashlib.sha256()
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                show_bytes(progress, what, done, total=total)
    return digest.hexdigest()
