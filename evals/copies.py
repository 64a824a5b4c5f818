"""Refuse to score a picture of which the model was trained on a copy, whatever its id.

Source: `phiray/images/signature.py` says what a copy is, and how sure that is.
Limits: knows the images that this checkpoint and its ancestors were trained on in phiray, where
they were signed (`data.sign_images`). A crop or a mirror image is not found.
"""

from collections.abc import Mapping

from phiray.data.signed_images import SignedImages
from phiray.errors import DataError
from phiray.images.signature import NUM_BITS, Signature, gradient_words, near_pairs

_NAMED = 5
"""Pairs that the message names."""


def check_copies(trained: SignedImages, evaluated: Mapping[str, Signature]) -> int:
    """Check that no evaluated picture is a copy of a trained one.

    Args:
        trained: what the checkpoint carries.
        evaluated: signatures by the name of the file.

    Returns:
        How many trained images were compared with.

    Raises:
        DataError: naming the first pairs.
    """
    names, signatures = list(evaluated), list(evaluated.values())
    id_of_pixels = {s.pixel_hash: i for i, s in zip(trained.ids, trained.signatures, strict=True)}
    found = {
        name: f"{name} (equal pixels: trained on as {id_of_pixels[signature.pixel_hash]})"
        for name, signature in evaluated.items()
        if signature.pixel_hash in id_of_pixels
    }
    words = gradient_words(list(trained.signatures))
    for row, other, distance in near_pairs(gradient_words(signatures), words):
        near = f"{distance} of {NUM_BITS} bits differ: trained on as {trained.ids[other]}"
        found.setdefault(names[row], f"{names[row]} ({near})")
    if found:
        shown = ", ".join(list(found.values())[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        raise DataError(
            f"{len(found)} evaluated pictures were trained on under other ids: {shown}. Scores on "
            "them would tell what the model remembers. Take these files out of the held-out "
            "images, or train again without their copies; `phiray data check` lists all pairs."
        )
    return len(trained.ids)
