"""Look through images, captions and conversations for what is missing, broken, double or leaking.

Source: DESIGN 6; facts/reliability_security.md section d (what goes wrong in annotation files).
Limits: copies are found by equal bytes; a resized or recompressed copy under another id is not.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phiray.config.data import SplitConfig
from phiray.data.check.report import CheckReport
from phiray.data.prefetch import prefetch_in_order
from phiray.data.sources.annotations import Excluded
from phiray.data.sources.coco import read_coco_captions
from phiray.data.sources.conversations import read_conversations
from phiray.data.split import image_key, is_heldout
from phiray.errors import DataError
from phiray.images.decode import ImageError, check_image
from phiray.images.paths import ImageFolder, image_id_from_name
from phiray.storage import AnyPath
from phiray.types import Progress

HARMLESS = frozenset({"duplicate caption", "duplicate row", "no captions"})
"""Reasons that real COCO and LLaVA files have themselves."""
NUM_THREADS = 2


@dataclass(frozen=True)
class ImageFiles:
    """What to look through."""

    images: AnyPath
    captions: Sequence[AnyPath]
    conversations: Sequence[AnyPath]
    split: SplitConfig


def check_images(
    files: ImageFiles, report: CheckReport, *, progress: Progress | None = None
) -> None:
    """Read every annotation file and decode every image below the image folder.

    Raises:
        DataError: with exit code 66 if the image folder does not exist.
    """
    folder = ImageFolder.scan(files.images)
    ids = {path: image_id for image_id, path in folder.paths.items()}
    _check_captions(files.captions, folder, ids, report=report, progress=progress)
    _check_conversations(files.conversations, folder, report=report, progress=progress)
    heldout = {
        image_id: is_heldout(
            image_key(image_id),
            salt=files.split.salt,
            heldout_fraction=files.split.heldout_fraction,
        )
        for image_id in ids.values()
    }
    report.counts["images"] = len(ids)
    report.counts["train images"] = sum(not held for held in heldout.values())
    report.counts["held-out images"] = sum(heldout.values())
    for path in folder.unnamed:
        if path not in ids:
            report.note("file without a COCO id", str(path))
    digests = dict(_digests([*ids, *folder.duplicates], report, progress=progress))
    _check_copies(folder, ids, heldout=heldout, digests=digests, report=report)


def _check_captions(
    files: Sequence[AnyPath],
    folder: ImageFolder,
    ids: dict[AnyPath, int],
    *,
    report: CheckReport,
    progress: Progress | None,
) -> None:
    """Count captions; learn the ids of images whose names do not tell them."""
    for file in files:
        try:
            found = read_coco_captions([file], folder, progress=progress)
        except DataError as error:
            report.find("unusable file", error.message)
            continue
        _add(report, "captions", sum(len(image.captions) for image in found.images))
        _report_excluded(found.excluded, report)
        ids.update({image.path: image.image_id for image in found.images})


def _check_conversations(
    files: Sequence[AnyPath],
    folder: ImageFolder,
    *,
    report: CheckReport,
    progress: Progress | None,
) -> None:
    for file in files:
        try:
            found = read_conversations([file], folder, progress=progress)
        except DataError as error:
            report.find("unusable file", error.message)
            continue
        _add(report, "conversations", len(found.rows))
        _report_excluded(found.excluded, report)


def _add(report: CheckReport, what: str, count: int) -> None:
    report.counts[what] = report.counts.get(what, 0) + count


def _report_excluded(excluded: Iterable[Excluded], report: CheckReport) -> None:
    for item in excluded:
        tell = report.note if item.reason in HARMLESS else report.find
        tell(item.reason, item.detail)


def _digests(
    paths: Sequence[AnyPath], report: CheckReport, *, progress: Progress | None
) -> Iterator[tuple[AnyPath, str]]:
    """Decode every file, and hash those that are whole."""
    checked = prefetch_in_order(_check_file, iter(paths), num_threads=NUM_THREADS)
    for index, (path, digest, fault) in enumerate(checked):
        if progress is not None:
            progress("decoding images", index + 1, len(paths))
        if fault is not None:
            report.find(f"broken file: {fault}", str(path))
        else:
            yield path, digest


def _check_file(path: AnyPath) -> tuple[AnyPath, str, str | None]:
    """Give path, hash, and what is wrong with the file."""
    try:
        data = path.read_bytes()
        check_image(data)
    except ImageError as error:
        return path, "", error.reason
    except OSError as error:
        return path, "", f"unreadable ({error.strerror})"
    return path, hashlib.sha256(data).hexdigest(), None


def _check_copies(
    folder: ImageFolder,
    ids: Mapping[AnyPath, int],
    *,
    heldout: Mapping[int, bool],
    digests: Mapping[AnyPath, str],
    report: CheckReport,
) -> None:
    """Report equal pictures under two ids, above all on both sides, and unequal ones under one."""
    paths_of_digest: defaultdict[str, list[AnyPath]] = defaultdict(list)
    for path in ids:
        if path in digests:
            paths_of_digest[digests[path]].append(path)
    for first, *copies in paths_of_digest.values():
        for copy in copies:
            is_leak = heldout[ids[first]] != heldout[ids[copy]]
            kind = "leak: one picture in train and held-out" if is_leak else "picture under two ids"
            report.find(kind, f"{first} = {copy}")
    for path in folder.duplicates:
        image_id = image_id_from_name(path.name)
        first = folder.paths[image_id] if image_id is not None else path
        is_equal = digests.get(path) == digests.get(first)
        tell = report.note if is_equal else report.find
        tell("one id, equal files" if is_equal else "one id, different files", f"{first}, {path}")
