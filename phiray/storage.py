"""Files that are read wherever they lie: by a path, or below a URL that fsspec can open.

    root = path_of("s3://bucket/data")            # or path_of("/shared/data")
    file = join(root, "coco/images/a.jpg")
    with file.open("rb") as stream: ...

Source: fsspec, for all that is not mounted as a folder; the methods are those of `pathlib.Path`.
Limits: reading only. The package of a store (s3fs, gcsfs, ...) is not among our dependencies.
"""

import errno
import functools
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec

from phiray.errors import DataError, ExitCode

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
"""How file systems call what changes when a file is replaced, the surest first."""
_ERRNO: Mapping[type[Exception], int] = {
    FileNotFoundError: errno.ENOENT,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    PermissionError: errno.EACCES,
    Exception: errno.EIO,
}
"""Numbers of what stores raise: often without one, or with that of a connection."""


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

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:
        """Open it for reading bytes.

        Raises:
            OSError: as `Path.open` does.
        """
        with _store(self.url) as (file_system, path):
            file = _UrlFile(self.url, file_system.open(path, mode))
        return io.BufferedReader(file)

    def read_bytes(self) -> bytes:
        """Read all of it."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str) -> str:
        """Read all of it as text."""
        return self.read_bytes().decode(encoding)

    def is_file(self) -> bool:
        """Say whether there is such a file."""
        with suppress(FileNotFoundError, NotADirectoryError), _store(self.url) as (system, path):
            return bool(system.info(path)["type"] == "file")  # `isfile` takes all errors for a no
        return False

    def is_dir(self) -> bool:
        """Say whether anything lies below it."""
        with _store(self.url) as (file_system, path):
            return bool(file_system.isdir(path))

    def walk(self) -> Iterator["UrlPath"]:
        """List all files below, with what the storage says of each."""
        with _store(self.url) as (file_system, path):
            found = file_system.find(path, detail=True)
        for name, info in found.items():
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
    return path.listed or version_now(path)


def version_now(path: AnyPath) -> FileVersion:
    """Return size and version of a file, whatever its storage said of it before.

    Raises:
        OSError: if it is not there, or cannot be asked for.
    """
    if isinstance(path, Path):
        return version_of(path)
    with _store(path.url) as (file_system, where):
        file_system.invalidate_cache(where)  # some answer from their own lists
        version = _version(file_system.info(where))
    if version is None:
        raise OSError(errno.EIO, "its storage does not say how many bytes it has", path.url)
    return version


def _version(info: Mapping[str, object]) -> FileVersion | None:
    """Read what a file system says of a file; None where it gives no size, as lists of http do."""
    if info.get("size") is None:
        return None
    found = (str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None)
    return FileVersion(int(str(info["size"])), next(found, ""))


# Any: fsspec has no types.
@contextmanager
def _store(url: str) -> Iterator[tuple[Any, str]]:
    """Give the file system of a URL, and the path in it; raise its errors as OSError."""
    with _as_os_errors(url):
        yield fsspec.url_to_fs(url)


@contextmanager
def _as_os_errors(url: str) -> Iterator[None]:
    """Raise what a store's package raises as OSError, with a number and the URL.

    A request that failed is then what a file is that a disk cannot read: a bad row, or a message.
    """
    try:
        yield
    except Exception as error:  # each package has classes of its own, which have nothing in common
        number = next(number for kind, number in _ERRNO.items() if isinstance(error, kind))
        text = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise OSError(number, text, url) from error


class _UrlFile(io.RawIOBase):
    """An open file of a store, whose errors are OSError at each read, too."""

    # Any: fsspec has no types.
    def __init__(self, url: str, file: Any) -> None:
        super().__init__()
        self._url = url
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _as_os_errors(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readall(self) -> bytes:
        with _as_os_errors(self._url):
            return bytes(self._file.read())

    # Any: what can be written to has no type before Python 3.12.
    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        with _as_os_errors(self._url):
            data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        with _as_os_errors(self._url):
            self._file.close()
        super().close()
