"""Which ids are held out: one pure function of the id, shared by all stages and evaluations.

Source: hashing ids, as in TensorFlow Datasets' and Hugging Face's stable splits; sha256 of UTF-8.
Limits: near duplicates under different ids may land on different sides.
"""

import hashlib

_HASH_BYTES = 8
_HASH_RANGE = 1 << (8 * _HASH_BYTES)


def is_heldout(key: str, *, salt: str, heldout_fraction: float) -> bool:
    """Tell whether an id belongs to the held-out part.

    Args:
        key: what `image_key`, `book_key` or `document_key` gives.
        salt: `data.split.salt`.
        heldout_fraction: share (0..1) of all ids.
    """
    return split_fraction(key, salt=salt) < heldout_fraction


def split_fraction(key: str, *, salt: str) -> float:
    """Map an id to a fixed number in 0..1, evenly spread over ids."""
    digest = hashlib.sha256(f"{salt}:{key}".encode()).digest()
    return int.from_bytes(digest[:_HASH_BYTES], "big") / _HASH_RANGE


def image_key(image_id: int) -> str:
    """Name a COCO image: the same for all years and all forms of its file name."""
    return f"image:{image_id}"


def book_key(number: int) -> str:
    """Name a Project Gutenberg book: the same for all its editions and encodings."""
    return f"book:{number}"


def document_key(text: str) -> str:
    """Name a text that has no id by its content, so that copies fall on one side."""
    return f"document:{hashlib.sha256(text.encode()).hexdigest()}"
