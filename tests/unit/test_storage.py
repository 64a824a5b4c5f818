import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from phiray.errors import DataError, ExitCode
from phiray.storage import (
    AnyPath,
    FileVersion,
    UrlPath,
    is_url,
    join,
    path_of,
    version_now,
    version_of,
)

STORE = "memory://test-storage"


@pytest.fixture(params=["path", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> AnyPath:
    """A folder with a/one.txt and a-b/two.TXT, as a path and at URLs of two kinds."""
    place = {"path": str(tmp_path), "file": f"file://{tmp_path}", "memory": STORE}[request.param]
    for name, text in (("a/one.txt", "1"), ("a-b/two.TXT", "22")):
        with fsspec.open(f"{place}/{name}", "wb", auto_mkdir=True) as file:
            file.write(text.encode())
    return path_of(place)


def test_files_are_read_alike_wherever_they_lie(root: AnyPath) -> None:
    file = root / "a/one.txt"
    with file.open("rb") as stream:
        assert stream.read() == b"1"
    assert (file.read_bytes(), file.read_text(encoding="utf-8")) == (b"1", "1")
    assert (file.name, file.suffix) == ("one.txt", ".txt")
    assert version_of(file).num_bytes == 1
    assert file.with_name("other").name == "other"
    assert str(file) == f"{root}/a/one.txt"
    assert root.is_dir()
    assert file.is_file()
    assert not file.is_dir()
    assert not (root / "a/two.txt").is_file()
    assert not (root / "b").is_dir()


def test_a_file_that_is_not_there_is_missing(root: AnyPath) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        (root / "none.txt").open("rb")
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        version_of(root / "none.txt")


def test_files_of_a_url_are_listed_with_their_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_text("1")
    (tmp_path / "two").write_text("22")
    files = sorted(UrlPath(f"file://{tmp_path}").walk())
    assert [str(file) for file in files] == [f"file://{tmp_path}/a/one", f"file://{tmp_path}/two"]
    (tmp_path / "two").unlink()
    assert [version_of(file).num_bytes for file in files] == [1, 2]  # nobody was asked again
    assert files[0] == UrlPath(f"file://{tmp_path}/a/one")


class Remote(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Files of a host, which no path of the file system names: as those of ftp, hdfs, github."""

    protocol = "test-remote"

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    # Any: fsspec has no types.
    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        text = str(path).rstrip("/")
        return "/" + text.partition("://")[2].partition("/")[2] if "://" in text else text

    @staticmethod
    def _get_kwargs_from_urls(path: Any) -> Any:
        return {"host": path.partition("://")[2].partition("/")[0]}


class Web(Remote):
    """Files whose names are whole URLs: as those of http."""

    protocol = "test-web"

    # Any: fsspec has no types.
    def find(self, path: Any, **given: Any) -> Any:
        found = super().find(path, **given)
        return {f"test-web://{self.host}{name}": info for name, info in found.items()}


@pytest.mark.parametrize("kind", [Remote, Web])
@pytest.mark.parametrize("end", ["", "/"])
def test_files_that_are_listed_keep_their_host(kind: type[Remote], end: str) -> None:
    fsspec.register_implementation(kind.protocol, kind, clobber=True)
    url = f"{kind.protocol}://host:8020/{kind.__name__}"
    with fsspec.open(f"{url}/a/one", "wb") as file:
        file.write(b"1")
    (found,) = UrlPath(url + end).walk()
    assert str(found) == f"{url}/a/one"
    assert found.read_bytes() == b"1"
    assert version_of(found).num_bytes == 1


class Listing(Remote):
    """A store that answers from its own lists, as s3fs and gcsfs do."""

    protocol = "test-listing"
    known: ClassVar[dict[str, Any]] = {}

    # Any: fsspec has no types.
    def info(self, path: Any, **named: Any) -> Any:
        return self.known.setdefault(path, super().info(path))

    def invalidate_cache(self, path: Any = None) -> None:
        self.known.pop(path, None)


def test_a_file_that_was_listed_is_asked_for_anew() -> None:
    fsspec.register_implementation(Listing.protocol, Listing, clobber=True)
    url = "test-listing://host/replaced"
    for data in (b"1", b"22"):
        with fsspec.open(url, "wb") as file:
            file.write(data)
        Listing("host").info("/replaced")
        assert version_now(UrlPath(url, FileVersion(1, ""))).num_bytes == len(data)


class ServerError(Exception):
    """What a store's package raises, as aiohttp's ClientResponseError and gcsfs's HttpError."""


class FailingFile(io.BytesIO):
    # Any: what is read does not matter.
    def read(self, *given: Any) -> Any:
        raise ServerError("503")


class Failing(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store that cannot be used; a file of it that is opened fails when it is read."""

    protocol = "test-failing"

    # Any: fsspec has no types.
    def find(self, *given: Any, **named: Any) -> Any:
        raise ServerError("503")

    info = ls = isdir = find

    def open(self, path: Any, *given: Any, **named: Any) -> Any:
        if path.endswith("read"):
            return FailingFile(b"1")
        raise PermissionError("no credentials")


@pytest.mark.parametrize(
    "use",
    [
        lambda file: version_of(file),
        lambda file: file.is_file(),
        lambda file: file.is_dir(),
        lambda file: list(file.walk()),
        lambda file: file.read_bytes(),
        lambda file: file.open("rb").read(5),
        lambda file: file.open("rb").readinto(bytearray(5)),
    ],
)
def test_errors_of_a_store_are_errors_of_its_file(use: Callable[[UrlPath], object]) -> None:
    fsspec.register_implementation(Failing.protocol, Failing, clobber=True)
    url = "test-failing://a/read"
    with pytest.raises(OSError, match="ServerError: 503") as caught:
        use(UrlPath(url))
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, url)


def test_an_error_of_a_store_without_a_number_gets_that_of_its_kind() -> None:
    fsspec.register_implementation(Failing.protocol, Failing, clobber=True)
    with pytest.raises(PermissionError, match="no credentials") as caught:
        UrlPath("test-failing://a/open").open("rb")
    assert caught.value.errno == errno.EACCES


class Unsized(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store that does not say sizes, as lists of http."""

    protocol = "test-unsized"

    # Any: fsspec has no types.
    def info(self, path: Any, **named: Any) -> Any:
        return {"name": path, "size": None, "type": "file"}

    def find(self, path: Any, **named: Any) -> Any:
        return {f"{path}/one": self.info(f"{path}/one")}


def test_a_file_without_a_size_is_listed_and_has_no_version() -> None:
    fsspec.register_implementation(Unsized.protocol, Unsized, clobber=True)
    (found,) = UrlPath("test-unsized://a").walk()
    with pytest.raises(OSError, match="does not say how many bytes") as caught:
        version_of(found)
    assert caught.value.errno == errno.EIO


def test_a_file_of_a_store_is_read_in_parts() -> None:
    data = bytes(range(256)) * 100
    with fsspec.open(f"{STORE}/parts", "wb") as file:
        file.write(data)
    with UrlPath(f"{STORE}/parts").open("rb") as stream:
        assert stream.read(300) == data[:300]
        assert stream.seek(20_000) == stream.tell() == 20_000
        assert stream.read() == data[20_000:]
        assert stream.read(1) == b""


def test_urls_are_sorted_as_paths_are(tmp_path: Path) -> None:
    names = ["a-b/c", "a/b", "a.b", "a/a", "b"]
    by_path = sorted(tmp_path / name for name in names)
    by_url = sorted(UrlPath(f"s3://{tmp_path}/{name}") for name in names)
    assert [str(path) for path in by_path] == [str(url).removeprefix("s3://") for url in by_url]


def test_a_replaced_file_has_another_version(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = version_of(path)
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    assert version_of(path) != before
    url = UrlPath(f"{STORE}/replaced")
    versions = set()
    for data in (b"one", b"two"):
        with fsspec.open(str(url), "wb") as file:
            file.write(data)
        versions.add(version_of(url))
    assert len(versions) == 2


@pytest.mark.parametrize("text", ["/a/b", "a/b", "/a://b", "C:/a", "/a::b"])
def test_paths_are_no_urls(text: str) -> None:
    assert not is_url(text)
    assert path_of(text) == Path(text)


@pytest.mark.parametrize(
    ("root", "name", "joined"),
    [
        ("/a", "b/c", "/a/b/c"),
        ("/a", "/b", "/b"),
        ("/a", f"{STORE}/b", f"{STORE}/b"),
        (STORE, "b/c", f"{STORE}/b/c"),
        (f"{STORE}/", "b", f"{STORE}/b"),
        (STORE, "/b", "/b"),
    ],
)
def test_join_takes_an_absolute_path_or_a_url_as_it_is(root: str, name: str, joined: str) -> None:
    assert join(path_of(root), name) == path_of(joined)


@pytest.mark.parametrize(
    ("url", "match"), [("gs://bucket/data", "gcsfs"), ("nonsense://data", "nonsense")]
)
def test_a_url_that_fsspec_cannot_open_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, match: str
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # as if it was not installed
    with pytest.raises(DataError, match=match) as caught:
        path_of(url)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
