from pathlib import Path

import httpx
import pytest

from phiray.fetch.partial import Described, PartialFile, validator_of

URL = "https://a.b/c"


def test_partial_file_knows_what_it_is_a_part_of(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "work" / "x.part")
    assert (partial.num_bytes(), partial.described(URL)) == (0, None)
    partial.begin(Described(URL, 10, '"tag"'))
    partial.path.write_bytes(b"12345")
    again = PartialFile(partial.path)
    assert again.num_bytes() == 5
    assert again.described(URL) == Described(URL, 10, '"tag"')
    assert again.described("https://a.b/other") is None


def test_partial_file_begun_anew_keeps_no_bytes(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "x.part")
    partial.begin(Described(URL, 10, '"tag"'))
    partial.path.write_bytes(b"12345")
    partial.begin(Described(URL, 20, '"other"'))
    assert partial.num_bytes() == 0


def test_partial_file_without_a_validator_is_not_gone_on_with(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "x.part")
    partial.begin(Described(URL, 10, ""))
    assert partial.described(URL) is None


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"url": 1}', b"\xff"])
def test_partial_file_with_a_torn_note_is_not_gone_on_with(tmp_path: Path, note: bytes) -> None:
    partial = PartialFile(tmp_path / "x.part")
    partial.path.write_bytes(b"12345")
    (tmp_path / "x.part.json").write_bytes(note)
    assert partial.described(URL) is None


def test_partial_file_becomes_its_target_and_leaves_nothing(tmp_path: Path) -> None:
    partial = PartialFile(tmp_path / "x.part")
    partial.begin(Described(URL, 5, '"tag"'))
    partial.path.write_bytes(b"12345")
    partial.become(tmp_path / "deep" / "x")
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()] == [
        "deep/x"
    ]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"ETag": '"a"', "Last-Modified": "then"}, '"a"'),
        ({"ETag": 'W/"a"', "Last-Modified": "then"}, "then"),
        ({"ETag": 'W/"a"'}, ""),
        ({}, ""),
    ],
)
def test_validator_is_a_strong_tag_or_a_date(headers: dict[str, str], expected: str) -> None:
    assert validator_of(httpx.Response(200, headers=headers)) == expected
