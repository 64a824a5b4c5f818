import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.sources import json_stream
from phiray.data.sources.json_stream import Item, stream_json
from phiray.errors import DataError

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def write(path: Path, data: bytes) -> Path:
    file = path / "captions.json"
    file.write_bytes(data)
    return file


def expected(content: object) -> list[Item]:
    """What the stream gives of a value that `json` read."""
    if isinstance(content, list):
        return [("", index, value) for index, value in enumerate(content)]
    assert isinstance(content, dict)
    items: list[Item] = []
    for key, value in content.items():
        items += (
            [(key, index, item) for index, item in enumerate(value)]
            if isinstance(value, list)
            else [(key, -1, value)]
        )
    return items


@settings(deadline=None)
@given(
    content=st.lists(ANY_JSON, max_size=6)
    | st.dictionaries(st.text(max_size=5), ANY_JSON, max_size=6),
    chunk=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_stream_json_gives_what_json_reads(
    tmp_path_factory: pytest.TempPathFactory,
    content: object,
    chunk: int,
    indent: int | None,
    is_ascii: bool,
) -> None:
    """Whatever the chunks are that it reads."""
    text = json.dumps(content, indent=indent, ensure_ascii=is_ascii)
    file = write(tmp_path_factory.mktemp("json"), text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK_BYTES", chunk)
        assert list(stream_json(file)) == expected(content)


@settings(deadline=None)
@given(
    data=st.binary(max_size=60) | st.text(alphabet='[]{},:"0123456789.eE-truefalsn ', max_size=60)
)
def test_stream_json_of_anything_agrees_with_json(
    tmp_path_factory: pytest.TempPathFactory, data: bytes | str
) -> None:
    """It gives items and no other error than its own, and refuses what `json` refuses."""
    data = data.encode() if isinstance(data, str) else data
    file = write(tmp_path_factory.mktemp("json"), data)
    try:
        content = json.loads(data.decode())
    except ValueError:
        content = None
    if isinstance(content, list) or (isinstance(content, dict) and content):
        pairs = json.loads(data.decode(), object_pairs_hook=lambda pairs: pairs)
        if isinstance(content, list) or len(pairs) == len(content):  # no key stands twice
            assert list(stream_json(file)) == expected(content)
    elif not isinstance(content, dict):
        with pytest.raises(DataError, match="cannot be read as JSON"):
            list(stream_json(file))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"", "found the end of the file"),
        (b"[1, 2", "expected '\\]' at character 5"),
        (b'{"images": [{"id": NaN}]}', "NaN is not a JSON value"),
        (b"[" * 100_000, "recursion"),
        (b"[1" + b"0" * 5000 + b"]", "4300 digits"),
        (b'["\xff"]', "invalid start byte"),
        (b"[1] x", "expected the end at character 4"),
        (b"{1: 2}", "expected a key"),
        (b'"text"', "expected a list or an object"),
    ],
)
def test_stream_json_says_where_it_stops(tmp_path: Path, data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        list(stream_json(write(tmp_path, data)))


def test_stream_json_skips_a_byte_order_mark(tmp_path: Path) -> None:
    assert list(stream_json(write(tmp_path, b"\xef\xbb\xbf[1]"))) == [("", 0, 1)]


def test_stream_json_refuses_an_endless_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "MAX_ITEM_CHARS", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK_BYTES", 100)
    file = write(tmp_path, b'["' + b"x" * 10_000)

    with pytest.raises(DataError, match="a value of at most 1000 characters"):
        list(stream_json(file))


def test_stream_json_tells_of_its_bytes(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    file = write(tmp_path, b"[1, 2]")
    list(stream_json(file, progress=lambda *words: told.append(words)))

    assert told[-1] == ("reading captions.json", 6, 6)
