"""Fetch images one by one: a subset of COCO, or the few that are missing or damaged.

Source: captions_{train,val}2017.json names the images; LLaVA's and COCO's file names carry the id.
Limits: the server tells no hash of an image, so a new one is checked by its size alone; its sha256
is kept from then on.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from phiray.errors import ConfigError, DataError, ExitCode, FetchError
from phiray.fetch.parallel import in_threads
from phiray.fetch.partial import PartialFile
from phiray.fetch.sources import RemoteFile
from phiray.fetch.workplace import Workplace

NUM_THREADS = 16
"""Requests under way at once: images are small, and most of the time goes into waiting."""
_IMAGE_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How JPEG begins, and PNG: files of COCO that are named .jpg have been seen to be that."""
_HEAD_BYTES = 16
_NAME = re.compile(r"[0-9]{12}\.jpg")


def choose_images(captions: Path, *, num_images: int, seed: int) -> list[str]:
    """Choose images that have captions: the same ones for a seed, and more of them for a larger N.

    Args:
        captions: a COCO caption file.
        num_images: how many.
        seed: of the choice.

    Returns:
        Their file names, sorted.

    Raises:
        DataError: if the file is no caption file (65).
        ConfigError: if it has fewer images (2).
    """
    try:
        content = json.loads(captions.read_bytes())
        captioned = {annotation["image_id"] for annotation in content["annotations"]}
        names = {
            image["id"]: image["file_name"]
            for image in content["images"]
            if image["id"] in captioned and _NAME.fullmatch(image["file_name"])
        }
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{captions} is no COCO caption file ({type(error).__name__}: {error}). Expected that "
            "of the archive. Delete it, and give the same command again."
        ) from error
    if num_images > len(names):
        raise ConfigError(
            f"--subset is {num_images}, but only {len(names)} images have captions. It must be at "
            "most that. Leave it out to fetch all images.",
            exit_code=ExitCode.USAGE,
        )
    chosen = sorted(names, key=lambda image_id: _rank(seed, image_id))[:num_images]
    return sorted(names[image_id] for image_id in chosen)


def fetch_images(files: Sequence[RemoteFile], workplace: Workplace) -> int:
    """Fetch images that are not there; return how many bytes came over the network.

    Raises:
        FetchError: if the server does not give one: at once, but for those that it does not have,
            which are named when all others are there (66).
        DataError: if the server sends something else in place of one (65).
    """
    ledger = workplace.ledger
    fetched, gone = 0, []

    def fetch(file: RemoteFile) -> int | None:
        part = workplace.part(file.path)
        try:
            arrived = workplace.downloader.fetch(file, part, quiet=True)
        except FetchError as error:
            if error.exit_code != ExitCode.MISSING_INPUT:
                raise
            return None
        _check_image(file, part)
        known = ledger.entries.get(file.path)
        archive = "" if known is None else known.archive  # it stays a member of it
        workplace.accept(file, arrived, archive=archive)
        return arrived.fetched_bytes

    images = in_threads(fetch, files, num_threads=NUM_THREADS)
    for number, (file, num_bytes) in enumerate(images, start=1):
        if num_bytes is None:
            gone.append(file.url)
        else:
            fetched += num_bytes
        workplace.downloader.progress("fetch images", number, len(files))
    if gone:
        raise FetchError(
            f"{len(gone)} of {len(files)} images are not on the server, e.g. {gone[0]}. Expected "
            "all of them. The others are in place; the source may have changed: look at the URL.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return fetched


def _check_image(file: RemoteFile, part: PartialFile) -> None:
    with part.path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.startswith(_IMAGE_MARKS):
        part.drop()
        raise DataError(
            f"{file.url} is no image: it begins with {head!r}. Expected a JPEG. A proxy may have "
            "sent a page of its own: look at the URL in a browser, and give the same command again."
        )


def _rank(seed: int, image_id: int) -> bytes:
    """Order ids by a hash, which no version of a library changes."""
    return hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
