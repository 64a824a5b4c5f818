import os
from pathlib import Path

import fsspec
import pytest

from phiray.data.storage import describe_source, is_url, open_source


def store(name: str, data: bytes) -> str:
    """Put a file into fsspec's store in memory."""
    url = f"memory://test-storage/{name}"
    with fsspec.open(url, "wb") as file:
        file.write(data)
    return url


def test_paths_and_urls_open_alike(tmp_path: Path) -> None:
    path = tmp_path / "a::b"  # fsspec would take it for a chain of two URLs
    path.write_bytes(b"bytes")
    for source in (str(path), f"file://{tmp_path}/c", store("c", b"bytes")):
        (tmp_path / "c").write_bytes(b"bytes")
        with open_source(source) as file:
            assert file.read() == b"bytes"
        assert describe_source(source).num_bytes == 5


def test_a_replaced_file_has_another_version(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    before = describe_source(str(path))
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    assert describe_source(str(path)) != before
    url = store("a", b"one")
    before = describe_source(url)
    assert before.version
    assert describe_source(store("a", b"two")) != before


@pytest.mark.parametrize("source", ["/nowhere/a", "file:///nowhere/a", "memory://nowhere/a"])
def test_a_file_that_is_not_there_is_said_to_be_missing(source: str) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere/a"):
        open_source(source)
    with pytest.raises(FileNotFoundError, match="nowhere/a"):
        describe_source(source)


@pytest.mark.parametrize("path", ["/a/b", "a/b", "/a://b", "C:/a"])
def test_paths_are_no_urls(path: str) -> None:
    assert not is_url(path)
