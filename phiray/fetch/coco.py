"""COCO 2017: the captions, and all images from their archives or a subset one by one.

Source: https://cocodataset.org/#download; the layout is that of the unpacked archives.
Limits: instances and keypoints stay in the archive: nothing here reads them. An archive is deleted
once its files are in place.
"""

from pathlib import Path

from phiray.errors import DataError
from phiray.fetch.archive import missing_bytes, put_in_place, unpack
from phiray.fetch.images import choose_images, fetch_images
from phiray.fetch.ledger import Entry
from phiray.fetch.sources import CocoSource, RemoteArchive, RemoteFile
from phiray.fetch.workplace import Workplace

_UNPACKED = ".unpacked"


def fetch_coco(source: CocoSource, workplace: Workplace, *, subset: int | None, seed: int) -> int:
    """Fetch what is not there; return how many bytes came over the network.

    Args:
        source: where it lies.
        workplace: where it goes.
        subset: how many training images; None means all, and those of val2017.
        seed: of the choice.

    Raises:
        FetchError: if the server does not give it, or the disk has no room.
        DataError: if what it gives is not what it should be.
        ConfigError: if there are not as many images.
    """
    archives = [source.annotations, *(source.images if subset is None else ())]
    missing = [archive for archive in archives if not _is_finished(archive, workplace)]
    wanted = 0 if subset is None else subset * source.mean_image_bytes
    _check_room(missing, workplace, more=wanted, subset=subset)
    fetched = sum(_fetch_archive(archive, workplace) for archive in missing)
    if subset is None:
        return fetched + sum(_mend(archive, workplace) for archive in source.images)
    names = choose_images(workplace.folder / source.captions, num_images=subset, seed=seed)
    files = [
        RemoteFile(
            f"{source.image_url}{name}", f"{source.image_folder}/{name}", source.max_image_bytes
        )
        for name in names
    ]
    return fetched + fetch_images(_not_there(files, workplace), workplace)


def _is_finished(archive: RemoteArchive, workplace: Workplace) -> bool:
    """Say whether an archive need not be fetched, since all is there or can be had one by one."""
    ledger = workplace.ledger
    name = archive.file.path
    return name in ledger.finished and (
        archive.member_url is not None
        or all(ledger.is_there(entry.path) for entry in ledger.members(name))
    )


def _check_room(
    missing: list[RemoteArchive], workplace: Workplace, *, more: int, subset: int | None
) -> None:
    """Look whether archives and what is in them have room together."""
    need = more
    for archive in missing:
        name = archive.file.path
        arrived = (workplace.work / name, workplace.part(name).path, *_unpacked(name, workplace))
        have = sum(path.stat().st_size for path in arrived if path.is_file())
        need += max(0, (archive.file.num_bytes or 0) + archive.about_unpacked_bytes - have)
    if need:
        what = "COCO 2017" if subset is None else f"A subset of {subset} images"
        workplace.check_room(need, what=what)


def _fetch_archive(archive: RemoteArchive, workplace: Workplace) -> int:
    """Download an archive, unpack it and put its files in place."""
    ledger, downloader = workplace.ledger, workplace.downloader
    name = archive.file.path
    zipped = workplace.work / name
    fetched = 0
    if not zipped.is_file():  # it has its name only when it is whole and checked
        part = workplace.part(name)
        fetched = downloader.fetch(archive.file, part).fetched_bytes
        part.become(zipped)
    place, work = workplace.folder / archive.folder, workplace.work / f"{name}{_UNPACKED}"
    try:
        need = missing_bytes(zipped, archive, folders=(place, work))
        workplace.check_room(need, what=f"Unpacking {name}")
        unpacked = unpack(zipped, archive, place=place, work=work, progress=downloader.progress)
    except DataError:
        zipped.unlink()
        raise
    ledger.add(unpacked.entries)
    put_in_place(unpacked, place)
    ledger.finish(name)
    zipped.unlink()
    return fetched


def _unpacked(name: str, workplace: Workplace) -> list[Path]:
    folder = workplace.work / f"{name}{_UNPACKED}"
    return list(folder.iterdir()) if folder.is_dir() else []


def _mend(archive: RemoteArchive, workplace: Workplace) -> int:
    """Fetch again what of an unpacked archive is missing or damaged; return its bytes."""
    members = workplace.ledger.members(archive.file.path)
    missing = _not_there([_file_of(entry, archive) for entry in members], workplace)
    if not missing:
        return 0
    workplace.downloader.note(f"{len(missing)} images of {archive.file.path} are fetched again")
    return fetch_images(missing, workplace)


def _file_of(entry: Entry, archive: RemoteArchive) -> RemoteFile:
    name = entry.path.rpartition("/")[2]
    return RemoteFile(
        f"{archive.member_url}{name}",
        entry.path,
        max_bytes=entry.num_bytes,
        num_bytes=entry.num_bytes,
        sha256=entry.sha256,
    )


def _not_there(files: list[RemoteFile], workplace: Workplace) -> list[RemoteFile]:
    return [file for file in files if not workplace.ledger.is_there(file.path)]
