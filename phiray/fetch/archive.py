"""Unpack the wanted files of a zip that a stranger made, each whole or not at all.

Source: Python's zipfile, which reads no more of a member than its declared size and checks its
CRC; what it does not refuse is refused here: names that lead out, links, devices, encryption, and
more bytes than there is reason for (facts of zip bombs: Fifield, "A better zip bomb", WOOT 2019).
Limits: only members that are stored or deflated, without a password. Nothing is flushed to the
disk: what a power cut tears has a wrong size, or is found by `--verify`.
"""

import errno
import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from phiray.errors import DataError
from phiray.fetch.files import show_bytes
from phiray.fetch.ledger import Entry
from phiray.fetch.sources import RemoteArchive
from phiray.types import Progress

_CHUNK_BYTES = 2**20
_MAX_MEMBERS = 1_000_000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PLAIN_TYPES = (0, stat.S_IFREG, stat.S_IFDIR)
"""What a member may be by its mode; 0 where the program that made the zip knows no modes."""
_PART = ".part"
_MODE_SHIFT = 16
_ENCRYPTED = 0x1
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)
"""What zipfile raises for a file that is no sound zip."""


@dataclass(frozen=True)
class Unpacked:
    """All wanted members of an archive, whole, in a folder of their own or at their place."""

    entries: list[Entry]
    folder: Path
    """Holds those that are not at their place yet."""


def unpack(
    path: Path, archive: RemoteArchive, *, place: Path, work: Path, progress: Progress
) -> Unpacked:
    """Unpack what is wanted into `work`, but for what is at its place or in `work` already.

    Args:
        path: of the zip.
        archive: what is wanted of it.
        place: folder where the files will belong.
        work: folder of an unpacking that may have begun before.
        progress: told of bytes.

    Raises:
        DataError: if it is broken, unsafe, or holds nothing that is wanted (65).
    """
    work.mkdir(parents=True, exist_ok=True)
    for torn in work.glob(f"*{_PART}"):
        torn.unlink()
    with _opened(path, archive) as opened:
        wanted = _wanted(opened, archive, num_bytes=path.stat().st_size)
        entries = _unpack_all(
            opened, wanted, archive=archive, folders=(place, work), progress=progress
        )
    return Unpacked(entries, work)


def put_in_place(unpacked: Unpacked, place: Path) -> None:
    """Give the files their place: as one folder where there is none yet, else file by file."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        unpacked.folder.rename(place)
        return
    for file in sorted(unpacked.folder.iterdir()):
        file.replace(place / file.name)
    shutil.rmtree(unpacked.folder)


def missing_bytes(path: Path, archive: RemoteArchive, *, folders: Sequence[Path]) -> int:
    """Return how many bytes the wanted members declare that are in none of the folders.

    Raises:
        DataError: as `unpack` does.
    """
    with _opened(path, archive) as opened:
        wanted = _wanted(opened, archive, num_bytes=path.stat().st_size)
    return sum(
        member.file_size
        for name, member in wanted.items()
        if not any(_has_size(folder / name, member) for folder in folders)
    )


@contextmanager
def _opened(path: Path, archive: RemoteArchive) -> Iterator[zipfile.ZipFile]:
    """Open a zip, and say what is wrong with it in one way."""
    try:
        with zipfile.ZipFile(path) as opened:
            yield opened
    except _FAULTS as error:
        raise _broken(archive, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a disk
            raise
        raise _broken(archive, "it names places outside itself") from error


def _wanted(
    opened: zipfile.ZipFile, archive: RemoteArchive, *, num_bytes: int
) -> dict[str, zipfile.ZipInfo]:
    """Look at all members before any is unpacked; return the wanted ones by their file names."""
    members = opened.infolist()
    if len(members) > _MAX_MEMBERS:
        raise _broken(archive, f"{len(members)} members are more than {_MAX_MEMBERS}")
    wanted: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        fault = _fault_of(member)
        if fault is not None:
            raise _broken(archive, f"the member {member.filename!r:.200} {fault}")
        found = archive.members.fullmatch(member.filename)
        if found is not None and wanted.setdefault(found["name"], member) is not member:
            raise _broken(archive, f"the member {member.filename!r} is there twice")
    if not wanted:
        raise _broken(archive, f"none of its members is named like {archive.members.pattern}")
    packed = sum(member.compress_size for member in members)
    if packed > num_bytes:
        raise _broken(archive, f"its members claim {packed} bytes of its {num_bytes}: they overlap")
    declared = sum(member.file_size for member in wanted.values())
    if declared > archive.max_unpacked_bytes:
        raise _broken(
            archive, f"it would unpack to {declared} bytes, over {archive.max_unpacked_bytes}"
        )
    return wanted


def _fault_of(member: zipfile.ZipInfo) -> str | None:
    """Say what is unsafe about a member; its original name, since zipfile mends some."""
    name = member.orig_filename
    if name.startswith("/") or any(c in name for c in "\\:\0") or ".." in name.split("/"):
        return "leads out of the folder"
    kind = stat.S_IFMT(member.external_attr >> _MODE_SHIFT)
    if kind not in _PLAIN_TYPES:
        return "is a link or a device, not a file"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return f"is compressed by method {member.compress_type}"
    return None


def _unpack_all(
    opened: zipfile.ZipFile,
    wanted: dict[str, zipfile.ZipInfo],
    *,
    archive: RemoteArchive,
    folders: Sequence[Path],
    progress: Progress,
) -> list[Entry]:
    place, work = folders
    what = f"unpack {archive.file.path}"
    total = sum(member.file_size for member in wanted.values())
    done, entries = 0, []
    for name, member in wanted.items():
        digest = _digest_of_whole(place / name, member) or _digest_of_whole(work / name, member)
        if digest is None:
            digest = _unpack_one(opened, member, work / name)
        entries.append(
            Entry(
                f"{archive.folder}/{name}",
                member.file_size,
                digest,
                archive.file.url,
                archive=archive.file.path,
            )
        )
        done += member.file_size
        show_bytes(progress, what, done, total=total)
    return entries


def _unpack_one(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    """Write a member beside its name, then give it that; return its sha256."""
    digest = hashlib.sha256()
    partial = target.with_name(f"{target.name}{_PART}")
    with opened.open(member) as source, partial.open("wb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    if partial.stat().st_size != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename} is not as long as declared")
    partial.rename(target)
    return digest.hexdigest()


def _digest_of_whole(path: Path, member: zipfile.ZipInfo) -> str | None:
    """Return the sha256 of a member that is there already, byte for byte; None otherwise."""
    if not _has_size(path, member):
        return None
    digest, crc = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            crc = zlib.crc32(chunk, crc)
    return digest.hexdigest() if crc == member.CRC else None


def _has_size(path: Path, member: zipfile.ZipInfo) -> bool:
    try:
        return path.stat().st_size == member.file_size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _broken(archive: RemoteArchive, found: str) -> DataError:
    return DataError(
        f"{archive.file.path} cannot be unpacked: {found}. Expected the archive that "
        f"{archive.file.url} names. Nothing of it was put in place or kept: the same command "
        "fetches it again. If that ends so, too, the archive at the source is not what it was."
    )
