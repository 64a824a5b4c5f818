"""Report pictures that stand under two ids: as copies, or as leaks from one side of the split.

Source: `phiray/images/signature.py` says what a copy is, and how sure that is.
Limits: every pair is compared, 140 million a second on one core: 118,000 images take a minute.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from phiray.data.check.report import CheckReport
from phiray.images.signature import NUM_BITS, Signature, gradient_words, near_pairs
from phiray.storage import AnyPath
from phiray.types import Progress

IMAGES, HELDOUT_IMAGES = "images", "held-out images"
_AT_ONCE = 2048
"""Pictures between two tellings of progress."""


@dataclass(frozen=True)
class SignedImage:
    """A picture that can be used."""

    path: AnyPath
    image_id: int
    is_heldout: bool
    signature: Signature


def report_copies(
    images: Sequence[SignedImage], report: CheckReport, *, progress: Progress | None
) -> None:
    """Find equal and nearly equal pictures under different ids.

    An equal picture on both sides is a leak; so is a nearly equal one, but there are a few among
    real photographs, so that their share decides.
    """
    first_of_pixels: dict[bytes, SignedImage] = {}
    for image in images:
        first = first_of_pixels.setdefault(image.signature.pixel_hash, image)
        if first is image:
            continue
        place = f"{first.path} = {image.path}"
        if first.is_heldout != image.is_heldout:
            report.leak("leak: one picture in train and held-out", place)
        else:
            report.find("picture under two ids", place, of=IMAGES)
    for first, image, distance in _near_images(images, progress=progress):
        place = f"{first.path} ~ {image.path} ({distance} of {NUM_BITS} bits differ)"
        if first.is_heldout != image.is_heldout:
            report.find("leak: near copies in train and held-out", place, of=HELDOUT_IMAGES)
        else:
            report.note("near copies under two ids", place)


def _near_images(
    images: Sequence[SignedImage], *, progress: Progress | None
) -> Iterator[tuple[SignedImage, SignedImage, int]]:
    """Give pairs that are nearly, but not quite, equal, each once."""
    words = gradient_words([image.signature for image in images])  # (images, 8)
    for start in range(0, len(images), _AT_ONCE):
        for row, other, distance in near_pairs(words[start : start + _AT_ONCE], words[start:]):
            first, image = images[start + row], images[start + other]
            if row < other and first.signature.pixel_hash != image.signature.pixel_hash:
                yield first, image, distance
        if progress is not None:
            progress("comparing images", min(start + _AT_ONCE, len(images)), len(images))
