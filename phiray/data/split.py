"""Which part an id belongs to: one pure function of the id, for all stages and evaluations.

Source: hashing ids, as in TensorFlow Datasets' and Hugging Face's stable splits; sha256 of UTF-8.
Limits: near duplicates under different ids may land on different sides.
"""

import hashlib
from typing import Literal

from phiray.config.data import SplitConfig

Part = Literal["train", "validation", "heldout"]
"""`train` is learnt; by `validation` a run or a search judges itself; `heldout` is for evals."""

SETTING_OF: dict[Part, str] = {
    "train": "heldout_fraction",
    "validation": "validation_fraction",
    "heldout": "heldout_fraction",
}
"""Which setting of `data.split` gives a part more ids, or leaves it some."""

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


def part_of(key: str, split: SplitConfig) -> Part:
    """Return the part of an id; what is held out does not depend on how much is for validation."""
    if is_heldout(key, salt=split.salt, heldout_fraction=split.heldout_fraction):
        return "heldout"
    place = split_fraction(key, salt=f"{split.salt}:validation")
    return "validation" if place < split.validation_fraction else "train"


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


def text_id(key: str) -> str:
    """Return the hash that a `document_key` holds: its id in a ledger."""
    return key.removeprefix("document:")


def document_key(text: str) -> str:
    """Name a text that has no id by its content, so that copies fall on one side."""
    return f"document:{hashlib.sha256(text.encode()).hexdigest()}"
