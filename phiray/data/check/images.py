"""Look through images, captions and conversations for what is missing, broken, double or leaking.

Source: DESIGN 6; facts/reliability_security.md sections b and d (what goes wrong in such files).
Limits: about 600 bytes are kept of each image; of captions and conversations see their modules.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phiray.config.data import SplitConfig
from phiray.data.check.captions import CaptionCheck
from phiray.data.check.conversations import ConversationCheck
from phiray.data.check.copies import HELDOUT_IMAGES, IMAGES, SignedImage, report_copies
from phiray.data.check.report import CheckReport
from phiray.data.prefetch import prefetch_in_order
from phiray.data.split import image_key, is_heldout
from phiray.images.decode import ImageError, decode_pixels
from phiray.images.oddities import oddities_of
from phiray.images.paths import ImageFolder, image_id_from_name
from phiray.images.signature import Signature, signature_from_pixels
from phiray.node import num_cores
from phiray.storage import AnyPath
from phiray.types import Progress


@dataclass(frozen=True)
class ImageFiles:
    """What to look through."""

    images: AnyPath
    captions: Sequence[AnyPath]
    conversations: Sequence[AnyPath]
    split: SplitConfig
    is_partial: bool = False
    """Whether images that annotations name may be absent."""


@dataclass(frozen=True)
class _Looked:
    """What one image file is."""

    path: AnyPath
    signature: Signature | None
    fault: tuple[str, str] | None
    """Reason and detail."""
    oddities: Sequence[str]


def check_images(
    files: ImageFiles, report: CheckReport, *, progress: Progress | None = None
) -> None:
    """Read every annotation file and decode every image below the image folder.

    Raises:
        DataError: with exit code 66 if the image folder does not exist.
    """
    folder = ImageFolder.scan(files.images)
    captions = CaptionCheck(folder, report, is_partial=files.is_partial)
    captions.read(files.captions, progress=progress)
    conversations = ConversationCheck(folder, report, is_partial=files.is_partial)
    conversations.read(files.conversations, progress=progress)
    ids = {path: image_id for image_id, path in folder.paths.items()} | captions.ids
    heldout = {image_id: _is_heldout(image_id, files.split) for image_id in ids.values()}
    report.counts["images"] = len(ids)
    report.counts["train images"] = sum(not held for held in heldout.values())
    report.counts["held-out images"] = sum(heldout.values())
    report.add_total(IMAGES, len(ids) + len(folder.duplicates))
    report.add_total(HELDOUT_IMAGES, report.counts["held-out images"])
    for path in folder.unnamed:
        if path not in ids:
            report.note("file without a COCO id", str(path))
    for path in folder.links_out.values():
        report.find("link out of the image folder", str(path), of=IMAGES)
    signatures = dict(_look_at_files([*ids, *folder.duplicates], report, progress=progress))
    signed = [
        SignedImage(path, image_id, heldout[image_id], signatures[path])
        for path, image_id in ids.items()
        if path in signatures
    ]
    report_copies(signed, report, progress=progress)
    _compare_files_of_one_id(folder, signatures, heldout=heldout, report=report)


def _is_heldout(image_id: int, split: SplitConfig) -> bool:
    key = image_key(image_id)
    return is_heldout(key, salt=split.salt, heldout_fraction=split.heldout_fraction)


def _look_at_files(
    paths: Sequence[AnyPath], report: CheckReport, *, progress: Progress | None
) -> Iterator[tuple[AnyPath, Signature]]:
    """Decode every file; report what is broken or odd, and sign what is whole."""
    looked = prefetch_in_order(_look_at, iter(paths), num_threads=num_cores())
    for index, found in enumerate(looked, start=1):
        if progress is not None:
            progress("decoding images", index, len(paths))
        for kind in found.oddities:
            report.note(f"{kind} image", str(found.path))
        if found.fault is not None:
            reason, detail = found.fault
            report.find(f"broken file: {reason}", f"{found.path}: {detail}", of=IMAGES)
        elif found.signature is not None:
            yield found.path, found.signature


def _look_at(path: AnyPath) -> _Looked:
    try:
        data = path.read_bytes()
        signature = signature_from_pixels(decode_pixels(data))
        return _Looked(path, signature, None, oddities_of(data, suffix=path.suffix))
    except ImageError as error:
        return _Looked(path, None, (error.reason, error.detail), ())
    except OSError as error:
        return _Looked(path, None, ("unreadable", error.strerror or str(error)), ())


def _compare_files_of_one_id(
    folder: ImageFolder,
    signatures: dict[AnyPath, Signature],
    *,
    heldout: dict[int, bool],
    report: CheckReport,
) -> None:
    """Report further files of an id, of another year say; the split keeps them on one side."""
    for path in folder.duplicates:
        image_id = image_id_from_name(path.name)
        assert image_id is not None, "duplicates are found by their id"
        first = folder.paths[image_id]
        place = f"{first}, {path}"
        if signatures.get(path) != signatures.get(first):
            report.find("one id, different files", place, of=IMAGES)
        elif heldout[image_id]:
            report.note("held-out picture under a second name (held out as well)", place)
        else:
            report.note("one id, equal files", place)
