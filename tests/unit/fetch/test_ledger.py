from pathlib import Path

import pytest

from phiray.fetch.ledger import Entry, Ledger
from tests.fetch_builders import Listener, hash_of


def open_in(folder: Path) -> Ledger:
    return Ledger.open(folder, file=folder / ".fetch" / "files.jsonl")


def put(folder: Path, path: str, body: bytes, *, archive: str = "") -> Entry:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)
    return Entry(path, len(body), hash_of(body), f"https://a.b/{path}", archive=archive)


def test_ledger_of_a_new_folder_knows_nothing_and_makes_nothing(tmp_path: Path) -> None:
    ledger = open_in(tmp_path)
    assert (ledger.entries, ledger.finished, ledger.refused) == ({}, set(), {})
    ledger.add([])
    assert list(tmp_path.iterdir()) == []


def test_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    ledger = open_in(tmp_path)
    ledger.add([put(tmp_path, "images/a.jpg", b"a", archive="x.zip"), put(tmp_path, "b", b"bb")])
    ledger.finish("x.zip")
    ledger.refuse("books/pg1.txt", "it is under copyright")
    again = open_in(tmp_path)
    assert again == ledger
    assert [entry.path for entry in again.members("x.zip")] == ["images/a.jpg"]


def test_ledger_believes_the_last_line_about_a_file(tmp_path: Path) -> None:
    ledger = open_in(tmp_path)
    ledger.add([put(tmp_path, "a", b"a")])
    ledger.add([put(tmp_path, "a", b"aaa")])
    assert open_in(tmp_path).entries["a"].num_bytes == 3


@pytest.mark.parametrize("torn", [b'{"path": "b", "num_by', b"\xff\xfe", b"[1]", b'{"path": "b"}'])
def test_ledger_passes_over_a_torn_line_and_goes_on_after_it(tmp_path: Path, torn: bytes) -> None:
    ledger = open_in(tmp_path)
    ledger.add([put(tmp_path, "a", b"a")])
    with ledger.file.open("ab") as file:
        file.write(torn)
    open_in(tmp_path).add([put(tmp_path, "c", b"c")])
    assert sorted(open_in(tmp_path).entries) == ["a", "c"]


def test_ledger_looks_at_the_size_of_a_file(tmp_path: Path) -> None:
    ledger = open_in(tmp_path)
    ledger.add([put(tmp_path, "a", b"a"), put(tmp_path, "b", b"b"), put(tmp_path, "c/d", b"d")])
    assert all(ledger.is_there(path) for path in ("a", "b", "c/d"))
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").unlink()
    (tmp_path / "c" / "d").unlink()
    (tmp_path / "c").rmdir()
    (tmp_path / "c").write_bytes(b"")
    assert not any(ledger.is_there(path) for path in ("a", "b", "c/d", "unknown"))


def test_verify_finds_a_changed_byte_and_takes_the_file_away(tmp_path: Path) -> None:
    listener = Listener()
    ledger = open_in(tmp_path)
    ledger.add([put(tmp_path, "a", b"abc"), put(tmp_path, "b", b"abc"), put(tmp_path, "c", b"c")])
    (tmp_path / "b").write_bytes(b"abd")
    (tmp_path / "c").unlink()
    assert ledger.forget_damaged(progress=listener.progress) == ["b"]
    assert not (tmp_path / "b").exists()
    assert ledger.is_there("a")
    assert listener.shown[-1] == ("verify files", 2, 2)
