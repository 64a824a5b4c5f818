"""The signatures of the images that a run trains on: what evaluation compares its own with.

Source: DESIGN 6 (evaluation refuses what was trained on), here by content, whatever the ids.
Limits: 100 bytes of JSON an image, 4 MB for 40,000, in each checkpoint. Signing decodes each image
once, 4 ms of one core for COCO's: 40,000 take 90 s on two cores.
"""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phiray.data.prefetch import prefetch_in_order
from phiray.data.sources.annotations import say_counts
from phiray.errors import DataError
from phiray.images.decode import ImageError
from phiray.images.signature import NUM_BITS, Signature, signature_from_bytes
from phiray.node import num_cores
from phiray.storage import AnyPath
from phiray.types import Progress

_VERSION = 1
_PIXEL_BYTES, _GRADIENT_BYTES = 8, NUM_BITS // 8


@dataclass(frozen=True)
class SignedImages:
    """Ids with signatures, in the order of the ids."""

    ids: tuple[int, ...]
    signatures: tuple[Signature, ...]

    def to_json(self) -> str:
        """Write as text, for a checkpoint."""
        pixels = b"".join(signature.pixel_hash for signature in self.signatures)
        gradients = b"".join(signature.gradient_bits for signature in self.signatures)
        return json.dumps(
            {
                "version": _VERSION,
                "ids": self.ids,
                "pixel_hashes": base64.b64encode(pixels).decode(),
                "gradient_bits": base64.b64encode(gradients).decode(),
            }
        )

    @staticmethod
    def from_json(text: str) -> "SignedImages":
        """Read what `to_json` wrote.

        Raises:
            DataError: if it is anything else.
        """
        try:
            content = json.loads(text)
            ids = tuple(int(image_id) for image_id in content["ids"])
            pixels = base64.b64decode(content["pixel_hashes"])
            gradients = base64.b64decode(content["gradient_bits"])
            sizes = (len(pixels), len(gradients), content["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable(str(error)) from error
        if sizes != (len(ids) * _PIXEL_BYTES, len(ids) * _GRADIENT_BYTES, _VERSION):
            raise _unreadable(f"{len(ids)} ids, {sizes[0]} and {sizes[1]} bytes of signatures")
        signatures = tuple(
            Signature(
                pixels[i * _PIXEL_BYTES :][:_PIXEL_BYTES],
                gradients[i * _GRADIENT_BYTES :][:_GRADIENT_BYTES],
            )
            for i in range(len(ids))
        )
        return SignedImages(ids, signatures)


def merge_signed(*parts: SignedImages) -> SignedImages:
    """Join what a run and those before it were trained on; equal entries stand once."""
    pairs = {pair for part in parts for pair in zip(part.ids, part.signatures, strict=True)}
    ordered = sorted(pairs, key=lambda pair: (pair[0], pair[1].pixel_hash))
    return SignedImages(tuple(i for i, _ in ordered), tuple(signature for _, signature in ordered))


def sign_images(
    images: Mapping[int, AnyPath], *, max_bad_fraction: float, progress: Progress | None = None
) -> SignedImages:
    """Decode and sign all images, and stop if too many of them are bad.

    Args:
        images: file of each id.
        max_bad_fraction: share (0..1) of them that may be bad; those are left out.
        progress: told of the images.

    Raises:
        DataError: with the counts by reason.
    """
    signed: dict[int, Signature] = {}
    bad: list[tuple[str, AnyPath]] = []
    looked = prefetch_in_order(_look_at, iter(images.values()), num_threads=num_cores())
    for done, (image_id, found) in enumerate(zip(images, looked, strict=True), start=1):
        if isinstance(found, Signature):
            signed[image_id] = found
        else:
            bad.append((found, images[image_id]))
        if progress is not None:
            progress("look at all training images", done, len(images))
    _check_bad(bad, num_images=len(images), max_bad_fraction=max_bad_fraction)
    ids = sorted(signed)
    return SignedImages(tuple(ids), tuple(signed[image_id] for image_id in ids))


def _look_at(path: AnyPath) -> Signature | str:
    """Sign an image, or say why it is bad in the words of training."""
    try:
        return signature_from_bytes(path.read_bytes())
    except ImageError as error:
        return error.reason
    except FileNotFoundError:
        return "missing image"
    except OSError:
        return "unreadable image"


def _check_bad(
    bad: Sequence[tuple[str, AnyPath]], *, num_images: int, max_bad_fraction: float
) -> None:
    if len(bad) <= max_bad_fraction * num_images:
        return
    raise DataError(
        f"{len(bad)} of {num_images} training images cannot be used "
        f"({say_counts(Counter(reason for reason, _ in bad))}), e.g. {bad[0][1]}. At most "
        f"data.max_bad_fraction={max_bad_fraction} of them may be bad. No step was made. `phiray "
        "data check` names all; mend or remove them."
    )


def _unreadable(found: str) -> DataError:
    return DataError(
        f"The list of trained images in a checkpoint cannot be read: {found}. Expected what phiray "
        "wrote. Take another checkpoint of the run."
    )
