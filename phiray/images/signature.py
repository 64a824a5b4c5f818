"""Tell copies of a picture, equal or nearly so, without keeping the picture.

Source: the difference hash (Krawetz, "Kind of Like That", 2013), here of 16 x 16 gradients in both
directions; the threshold was measured on 498 real COCO images (`bench/results/copies.json`).
Limits: finds copies that were encoded anew, resized, squashed, turned grey or coloured, made
brighter or cropped by up to 2 %; not what was cropped by more, mirrored or turned. Pictures with
few edges (drawings, charts, a bird in the sky) look alike in this hash: only equal pixels are found
of them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from phiray.images.decode import decode_pixels

CELLS = 16
"""Gradients along each side."""
NUM_BITS = 2 * CELLS * CELLS
MAX_DISTANCE = 48
"""Bits in which copies differ at most. Of 498 COCO images no two that differ came below 120, and of
their copies at JPEG quality 30, half size, 64 x 64 pixels or in grey 99 % differ in at most 34."""
MIN_CLEAR_BITS = 225
"""Gradients that must be clear, of 512, for the hash to mean anything: 493 of 498 COCO images have
as many, none of the built-in world's."""
_CLEAR_LEVELS = 2
"""Grey levels (0..255) between two cells from which on no compression turns their order."""
_LUMA = (299, 587, 114)
"""Thousandths of red, green and blue in luma (ITU-R BT.601)."""
_PIXEL_HASH_BYTES = 8
_WORDS = NUM_BITS // 64
_FIRST_WORDS = 3
"""Of eight: three are enough to tell nearly all pairs apart."""
_TILE_ROWS, _TILE_COLUMNS = 256, 16_384
"""Pictures that are compared at once: 4 million pairs take 40 MB."""

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Signature:
    """What is kept of a picture."""

    pixel_hash: bytes
    """8 bytes of the SHA-256 of its pixels at their own size: equal for equal pixels."""
    gradient_bits: bytes
    """64 bytes: in which direction luma changes from cell to cell; zeros if too few are clear."""

    @property
    def has_gradients(self) -> bool:
        """Tell whether copies can be found that are not equal."""
        return any(self.gradient_bits)


def signature_from_bytes(data: bytes) -> Signature:
    """Decode a file and sign its pixels.

    Raises:
        ImageError: as `decode_image`.
    """
    return signature_from_pixels(decode_pixels(data))


def signature_from_pixels(pixels: Tensor) -> Signature:
    """Sign a picture.

    Args:
        pixels: (3, height, width) uint8, at the picture's own size.
    """
    digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().tobytes())
    gradients = _gradients(pixels)  # (512,)
    bits = np.packbits(gradients > 0).tobytes()
    is_clear = np.abs(gradients) > _CLEAR_LEVELS * sum(_LUMA)
    if int(is_clear.sum()) < MIN_CLEAR_BITS:
        bits = bytes(NUM_BITS // 8)
    return Signature(digest.digest()[:_PIXEL_HASH_BYTES], bits)


def _gradients(pixels: Tensor) -> npt.NDArray[np.int32]:
    """Return the changes of luma to the right and downwards, in thousandths of a level: (512,)."""
    size = (CELLS + 1, CELLS + 1)
    cells = functional.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)[0]
    weights = torch.tensor(_LUMA, dtype=torch.int32)[:, None, None]
    luma = (cells.to(torch.int32) * weights).sum(0).numpy()  # (17, 17)
    right = luma[:CELLS, 1:] - luma[:CELLS, :-1]
    down = luma[1:, :CELLS] - luma[:-1, :CELLS]
    return np.concatenate([right.ravel(), down.ravel()]).astype(np.int32)


def gradient_words(signatures: list[Signature]) -> Words:
    """Stack gradient bits: (pictures, 8)."""
    joined = b"".join(signature.gradient_bits for signature in signatures)
    return np.frombuffer(joined, dtype=np.uint64).reshape(-1, _WORDS)


def near_pairs(left: Words, right: Words) -> Iterator[tuple[int, int, int]]:
    """Find all pairs within MAX_DISTANCE, one from each side; those without gradients have none.

    Args:
        left: (pictures, 8), as `gradient_words` gives.
        right: (other pictures, 8).

    Yields:
        Position on the left, position on the right, bits that differ.
    """
    rows, columns = (np.flatnonzero(side.any(axis=1)) for side in (left, right))
    for row in range(0, len(rows), _TILE_ROWS):
        for column in range(0, len(columns), _TILE_COLUMNS):
            tile_rows = rows[row : row + _TILE_ROWS]
            tile_columns = columns[column : column + _TILE_COLUMNS]
            yield from _near_in_tile(left, right, tile_rows, tile_columns)


def _near_in_tile(
    left: Words,
    right: Words,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
) -> Iterator[tuple[int, int, int]]:
    """Compare some of each side: the first words of all, and the others of what is left."""
    distances = np.zeros((len(rows), len(columns)), dtype=np.uint8)  # (rows, columns)
    for word in range(_FIRST_WORDS):
        distances += np.bitwise_count(left[rows, word][:, None] ^ right[columns, word][None])
    for at, other in np.argwhere(distances <= MAX_DISTANCE).tolist():
        row, column = int(rows[at]), int(columns[other])
        distance = int(np.bitwise_count(left[row] ^ right[column]).sum())
        if distance <= MAX_DISTANCE:
            yield row, column, distance
