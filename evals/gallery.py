"""Pictures with what models said of them, kept beside a result for the report.

Limits: examples are chosen by a hash of their id, never by their score; pictures are kept as the
model saw them, cropped and scaled.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from phiray.evals.scoring import Pixels

GALLERY_FOLDER = "gallery"
SELECTION_RULE = "those with the smallest SHA-256 of seed and id; scores play no part"
_JPEG_QUALITY = 85
_SHOWN_SIDE = 160
"""Pixels on a side; smaller pictures are kept as they are."""


def select_ids(ids: Iterable[str], *, seed: int, size: int) -> list[str]:
    """Choose which examples a person gets to see."""

    def rank(name: str) -> str:
        return hashlib.sha256(f"gallery:{seed}:{name}".encode()).hexdigest()

    return sorted(set(ids), key=rank)[:size]


def write_gallery(folder: Path, pictures: Mapping[int, Pixels]) -> None:
    """Write one JPEG for each image id."""
    target = folder / GALLERY_FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for image_id, pixels in pictures.items():
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        image.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        image.save(target / f"{image_id}.jpg", quality=_JPEG_QUALITY)


def find_picture(folder: Path, image_id: str) -> Path | None:
    """Return the kept picture of an image, if there is one."""
    path = folder / GALLERY_FOLDER / f"{image_id}.jpg"
    return path if path.is_file() else None
