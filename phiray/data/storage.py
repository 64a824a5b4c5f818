"""Open a file of shared storage by its path or its fsspec URL, and tell one version from the next.

Source: fsspec, for all that is not mounted as a folder.
Limits: reading only; a URL of a store needs the package that fsspec names for it.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import fsspec

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""How file systems call what changes when a file is replaced, the surest first."""


@dataclass(frozen=True)
class FileVersion:
    """A file as the storage describes it."""

    source: str
    """Path or URL."""
    num_bytes: int
    version: str
    """Tag or time of its last change; empty where the storage gives neither."""


def open_source(source: str) -> BinaryIO:
    """Open a file for reading.

    Raises:
        OSError: as `open` does.
    """
    if not is_url(source):
        return Path(source).open("rb")
    file_system, path = fsspec.url_to_fs(source)
    return cast("BinaryIO", file_system.open(path, "rb"))  # fsspec has no types


def describe_source(source: str) -> FileVersion:
    """Ask the storage for the size and the version of a file.

    Raises:
        OSError: if it is not there, or cannot be asked for.
    """
    if not is_url(source):
        status = Path(source).stat()
        return FileVersion(source, status.st_size, str(status.st_mtime_ns))
    file_system, path = fsspec.url_to_fs(source)
    info = file_system.info(path)
    found = (str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None)
    return FileVersion(source, int(info["size"]), next(found, ""))


def is_url(source: str) -> bool:
    """Tell a URL from a path."""
    return _URL.match(source) is not None
