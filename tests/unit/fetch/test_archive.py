import io
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis.strategies import DataObject, binary, data, integers, sampled_from

from phiray.errors import DataError
from phiray.fetch.archive import missing_bytes, put_in_place, unpack
from phiray.fetch.ledger import Entry
from phiray.fetch.sources import RemoteArchive, RemoteFile
from tests.fetch_builders import Listener, hash_of, noise, zip_of

ARCHIVE = RemoteArchive(
    RemoteFile("https://a.b/x.zip", "x.zip", 10**6),
    re.compile(r"train/(?P<name>[a-z]+\.jpg)"),
    "images/train",
    about_unpacked_bytes=0,
    max_unpacked_bytes=10**6,
)
GOOD = {"train/a.jpg": noise(5_000), "train/b.jpg": noise(7_000, seed=1), "train/c.jpg": b""}


FUZZED = zip_of(GOOD)


def written(folder: Path, body: bytes) -> Path:
    path = folder / "x.zip"
    path.write_bytes(body)
    return path


def unpack_in(folder: Path, body: bytes) -> list[Entry]:
    """Unpack and put in place, as fetching does."""
    path, place = written(folder, body), folder / "images" / "train"
    listener = Listener()
    unpacked = unpack(path, ARCHIVE, place=place, work=folder / "work", progress=listener.progress)
    put_in_place(unpacked, place)
    return unpacked.entries


def outside(folder: Path) -> list[str]:
    """List all files but the archive and what belongs in the two folders."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != "x.zip"
    ]


def with_member(name: str, *, mode: int = 0, body: bytes = b"x") -> bytes:
    stream = io.BytesIO(zip_of(GOOD))
    with zipfile.ZipFile(stream, "a") as archive:
        member = zipfile.ZipInfo("placeholder" if "\0" in name else name)
        member.filename = name  # as it is: the constructor mends some names
        member.external_attr = mode << 16
        archive.writestr(member, body)
    return stream.getvalue()


def test_wanted_members_are_unpacked_and_noted(tmp_path: Path) -> None:
    entries = unpack_in(
        tmp_path, zip_of({**GOOD, "train/": b"", "other/d.jpg": b"d", "LICENCE": b""})
    )
    assert {entry.path: entry.sha256 for entry in entries} == {
        f"images/{name}": hash_of(body) for name, body in GOOD.items()
    }
    assert {(entry.archive, entry.url) for entry in entries} == {("x.zip", "https://a.b/x.zip")}
    assert sorted(outside(tmp_path)) == [f"images/train/{letter}.jpg" for letter in "abc"]
    assert (tmp_path / "images/train/b.jpg").read_bytes() == GOOD["train/b.jpg"]


def test_half_an_unpacking_is_not_in_place_and_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    body = zip_of(GOOD)
    opened: list[str] = []
    real = zipfile.ZipFile.open

    def dies_at_second(self: zipfile.ZipFile, member: zipfile.ZipInfo) -> object:
        if opened:
            raise Killed("killed")
        opened.append(member.filename)
        return real(self, member)

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", dies_at_second)
        with pytest.raises(Killed, match=r"^killed$"):
            unpack_in(tmp_path, body)
    assert not (tmp_path / "images").exists()
    torn = tmp_path / "work" / "b.jpg.part"
    torn.write_bytes(b"half")

    def counts(self: zipfile.ZipFile, member: zipfile.ZipInfo) -> object:
        opened.append(member.filename)
        return real(self, member)

    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", counts)
        unpack_in(tmp_path, body)
    assert opened == ["train/a.jpg", "train/b.jpg", "train/c.jpg"]
    assert sorted(outside(tmp_path)) == [f"images/train/{letter}.jpg" for letter in "abc"]


def test_a_damaged_file_of_a_broken_off_unpacking_is_unpacked_again(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.jpg").write_bytes(noise(5_000, seed=9))  # the right size
    unpack_in(tmp_path, zip_of(GOOD))
    assert (tmp_path / "images/train/a.jpg").read_bytes() == GOOD["train/a.jpg"]


def test_files_at_the_place_stay_and_are_replaced_only_by_their_own(tmp_path: Path) -> None:
    place = tmp_path / "images" / "train"
    place.mkdir(parents=True)
    (place / "own.jpg").write_bytes(b"of the user")
    (place / "a.jpg").write_bytes(GOOD["train/a.jpg"])
    (place / "b.jpg").write_bytes(b"broken")
    inode = (place / "a.jpg").stat().st_ino
    unpack_in(tmp_path, zip_of(GOOD))
    assert (place / "own.jpg").read_bytes() == b"of the user"
    assert (place / "a.jpg").stat().st_ino == inode
    assert (place / "b.jpg").read_bytes() == GOOD["train/b.jpg"]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    "name",
    [
        "../evil.jpg",
        "/evil.jpg",
        "train/../../evil.jpg",
        "train\\evil.jpg",
        "C:evil.jpg",
        "a\0.jpg",
    ],
)
def test_a_name_that_leads_out_condemns_the_archive(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="leads out of the folder"):
        unpack_in(tmp_path, with_member(name))
    assert outside(tmp_path) == []


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK]
)
def test_links_and_devices_condemn_the_archive(tmp_path: Path, kind: int) -> None:
    with pytest.raises(DataError, match="is a link or a device"):
        unpack_in(tmp_path, with_member("train/d.jpg", mode=kind | 0o644, body=b"/etc/passwd"))
    assert outside(tmp_path) == []


def test_a_member_with_a_plain_mode_is_fine(tmp_path: Path) -> None:
    unpack_in(tmp_path, with_member("train/d.jpg", mode=stat.S_IFREG | 0o777))
    assert (tmp_path / "images/train/d.jpg").stat().st_mode & 0o111 == 0  # nothing executable


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    bomb = zip_of({"train/a.jpg": bytes(1_000_001)})
    assert len(bomb) < 2_000
    with pytest.raises(DataError, match="would unpack to 1000001 bytes, over 1000000"):
        unpack_in(tmp_path, bomb)
    assert outside(tmp_path) == []


def test_a_bomb_that_declares_too_little_writes_no_more_than_that(tmp_path: Path) -> None:
    honest = zip_of({"train/a.jpg": bytes(10**7)})
    size = struct.pack("<L", 10**7)
    lying = honest.replace(size, struct.pack("<L", 1_000))
    assert lying.count(struct.pack("<L", 1_000)) == 2  # local and central
    with pytest.raises(DataError, match="Bad CRC-32"):
        unpack_in(tmp_path, lying)
    assert sum(path.stat().st_size for path in (tmp_path / "work").iterdir()) <= 1_000
    assert not (tmp_path / "images").exists()


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    """Fifield's bomb: many names for one piece of compressed bytes."""
    body = zip_of({"train/a.jpg": noise(5_000)})
    central = body.index(b"PK\x01\x02")
    end = body.index(b"PK\x05\x06")
    header = body[central:end]
    many = b"".join(header.replace(b"a.jpg", f"{c}.jpg".encode()) for c in "abcdefgh")
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 8, 8, len(many), central, 0)
    with pytest.raises(DataError, match="overlap"):
        unpack_in(tmp_path, body[:central] + many + tail)
    assert outside(tmp_path) == []


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        body = with_member("train/a.jpg")
    with pytest.raises(DataError, match="is there twice"):
        unpack_in(tmp_path, body)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    body = bytearray(zip_of({"train/a.jpg": b"x"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(mark) + offset] |= 1
    with pytest.raises(DataError, match="is encrypted"):
        unpack_in(tmp_path, bytes(body))


def test_another_compression_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("train/a.jpg", b"x" * 100)
    with pytest.raises(DataError, match="compressed by method 14"):
        unpack_in(tmp_path, stream.getvalue())


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>login</html>", zip_of(GOOD)[:-30], zip_of(GOOD)[40:], noise(1_000)],
    ids=["empty", "page", "no end", "no beginning", "noise"],
)
def test_what_is_no_zip_is_named_so(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DataError, match=r"x\.zip cannot be unpacked"):
        unpack_in(tmp_path, body)
    assert not (tmp_path / "images").exists()


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    body = bytearray(zip_of(GOOD))
    body[100] ^= 0xFF
    with pytest.raises(DataError, match=r"x\.zip cannot be unpacked"):
        unpack_in(tmp_path, bytes(body))
    assert not (tmp_path / "images").exists()


def test_an_archive_without_what_is_wanted_is_another_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of its members is named like"):
        unpack_in(tmp_path, zip_of({"val/a.jpg": b"x"}))


def test_missing_bytes_are_those_that_are_in_neither_folder(tmp_path: Path) -> None:
    path = written(tmp_path, zip_of(GOOD))
    folders = (tmp_path / "place", tmp_path / "work")
    assert missing_bytes(path, ARCHIVE, folders=folders) == 12_000
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "a.jpg").write_bytes(GOOD["train/a.jpg"])
    assert missing_bytes(path, ARCHIVE, folders=folders) == 7_000


def test_crc_of_the_archive_is_that_of_zlib() -> None:
    """What a file that is there is compared by."""
    with zipfile.ZipFile(io.BytesIO(zip_of(GOOD))) as archive:
        assert zlib.crc32(GOOD["train/a.jpg"]) == archive.getinfo("train/a.jpg").CRC


@settings(max_examples=200, deadline=None)
@given(data())
def test_whatever_becomes_of_an_archive_nothing_lands_elsewhere_and_no_file_is_wrong(
    drawn: DataObject,
) -> None:
    """Bytes that change, go or come anywhere: it is unpacked as it was, or refused."""
    body = bytearray(FUZZED)
    for _ in range(drawn.draw(integers(1, 4))):
        at = drawn.draw(integers(0, len(body) - 1))
        kind = drawn.draw(sampled_from(["change", "go", "come"]))
        piece = drawn.draw(binary(min_size=1, max_size=6))
        if kind == "go":
            del body[at : at + len(piece)]
        else:
            body[at : at + len(piece) * (kind == "change")] = piece
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with suppress(DataError):
            unpack_in(folder, bytes(body))
        found = {path: (folder / path).read_bytes() for path in outside(folder)}
    assert all(path.startswith(("images/train/", "work/")) for path in found)
    placed = {content for path, content in found.items() if path.startswith("images/")}
    assert placed <= set(GOOD.values())
