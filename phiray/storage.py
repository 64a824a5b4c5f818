"""Files that are read wherever they lie: by a path, or below a URL that fsspec can open.

    root = path_of("s3://bucket/data")            # or path_of("/shared/data")
    file = join(root, "coco/images/a.jpg")
    with file.open("rb") as stream: ...

Source: fsspec, for all that is not mounted as a folder; the methods are those of `pathlib.Path`.
Limits: reading only. The package of a store (s3fs, gcsfs, ...) is not among our dependencies.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, cast

import fsspec

from phiray.errors import DataError, ExitCode

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""How file systems call what changes when a file is replaced, the surest first."""


@dataclass(frozen=True)
class FileVersion:
    """A file as its storage describes it."""

    num_bytes: int
    version: str
    """Tag or time of its last change; empty where the storage gives neither."""


@functools.total_ordering
@dataclass(frozen=True)
class UrlPath:
    """A file or folder below a URL, with what reading data needs of `Path`."""

    url: str
    listed: FileVersion | None = field(default=None, compare=False, repr=False)
    """What the storage said when it was listed: to ask for each of many files would take long."""

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> "UrlPath":
        return UrlPath(f"{self.url.rstrip('/')}/{name}")

    def __lt__(self, other: "UrlPath") -> bool:
        """Sort by parts, as `Path` does."""
        return self.url.split("/") < other.url.split("/")

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        """The ending of the name, with its point."""
        return PurePosixPath(self.url).suffix

    def with_name(self, name: str) -> "UrlPath":
        """Return a neighbour."""
        return UrlPath(f"{self.url.rpartition('/')[0]}/{name}")

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """Open it for reading bytes.

        Raises:
            OSError: as `Path.open` does.
        """
        file_system, path = fsspec.url_to_fs(self.url)
        return cast("BinaryIO", file_system.open(path, mode))  # fsspec has no types

    def read_bytes(self) -> bytes:
        """Read all of it."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str) -> str:
        """Read all of it as text."""
        return self.read_bytes().decode(encoding)

    def is_file(self) -> bool:
        """Say whether there is such a file."""
        file_system, path = fsspec.url_to_fs(self.url)
        return bool(file_system.isfile(path))

    def is_dir(self) -> bool:
        """Say whether anything lies below it."""
        file_system, path = fsspec.url_to_fs(self.url)
        return bool(file_system.isdir(path))

    def walk(self) -> Iterator["UrlPath"]:
        """List all files below, with what the storage says of each."""
        file_system, path = fsspec.url_to_fs(self.url)
        for name, info in file_system.find(path, detail=True).items():
            # `unstrip_protocol` cannot give back a host that a path of the file system lacks
            below = name.strip("/").removeprefix(path.strip("/")).lstrip("/")
            place = UrlPath(name) if is_url(name) else self / below
            yield replace(place, listed=_version(info))


AnyPath = Path | UrlPath


def is_url(text: str) -> bool:
    """Tell a URL from a path."""
    return _URL.match(text) is not None


def path_of(text: str) -> AnyPath:
    """Return what a setting names: a path, or what lies at a URL.

    Raises:
        DataError: 66 if fsspec knows no such URLs, or lacks the package for them.
    """
    if not is_url(text):
        return Path(text)
    try:
        fsspec.get_filesystem_class(text.partition("://")[0])
    except (ImportError, ValueError) as error:
        raise DataError(
            f"{text} cannot be read: {error}. Expected a URL that fsspec can open on this node. "
            "Install the package that it names in the environment of every node, or give a path.",
            exit_code=ExitCode.MISSING_INPUT,
        ) from error
    return UrlPath(text)


def join(root: AnyPath, name: str) -> AnyPath:
    """Return what lies below `root` by that name; an absolute path or a URL is itself."""
    if is_url(name) or Path(name).is_absolute():
        return path_of(name)
    return root / name


def version_of(path: AnyPath) -> FileVersion:
    """Return size and version of a file.

    Raises:
        OSError: if it is not there, or cannot be asked for.
    """
    if isinstance(path, Path):
        status = path.stat()
        return FileVersion(status.st_size, str(status.st_mtime_ns))
    if path.listed is not None:
        return path.listed
    file_system, where = fsspec.url_to_fs(path.url)
    return _version(file_system.info(where))


def _version(info: Mapping[str, object]) -> FileVersion:
    found = (str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None)
    return FileVersion(int(str(info["size"])), next(found, ""))
