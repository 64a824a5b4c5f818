"""Training pixels and captions as tensors, for the small CLIP.

Limits: everything is held in memory; captions are cut at MAX_CONTEXT tokens. An image that cannot
be decoded is left out here; the stages count it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phiray.data.sources.coco import CaptionedImage
from phiray.errors import DataError
from phiray.images.decode import ImageError, decode_image
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

MAX_CONTEXT = 64
PROGRESS_EVERY = 50


@dataclass(frozen=True)
class ClipData:
    """Images, and the captions of all of them in one table."""

    pixels: Tensor
    """(images, 3, height, width) uint8."""
    token_ids: Tensor
    """(captions, context) int64; an end token, then zeros."""
    first_caption: Tensor
    """(images,) int64; where the captions of an image begin."""
    num_captions: Tensor
    """(images,) int64."""
    vocab_size: int

    @property
    def context_length(self) -> int:
        """Tokens of the longest caption, its end included."""
        return self.token_ids.shape[1]


def read_clip_data(
    examples: Sequence[CaptionedImage],
    tokenizer: Tokenizer,
    *,
    image_size: int,
    progress: Progress | None = None,
) -> ClipData:
    """Decode the images and tokenise their captions.

    Args:
        examples: training images.
        tokenizer: that of the language model.
        image_size: side of the pixels.
        progress: told of the images.

    Raises:
        DataError: if not one image can be decoded.
    """
    pixels: list[Tensor] = []
    captions: list[str] = []
    counts: list[int] = []
    for index, example in enumerate(examples, start=1):
        if progress is not None and (index % PROGRESS_EVERY == 0 or index == len(examples)):
            progress("reading pictures", index, len(examples))
        try:
            decoded = decode_image(example.path.read_bytes(), image_size=image_size)
        except (ImageError, OSError):
            continue
        pixels.append(torch.from_numpy(decoded))
        captions += example.captions
        counts.append(len(example.captions))
    if not pixels:
        raise DataError(
            f"None of {len(examples)} training images can be decoded. Expected JPEG files. Fetch "
            "the images again."
        )
    num_captions = torch.tensor(counts)  # (images,)
    return ClipData(
        pixels=torch.stack(pixels),  # (images, 3, height, width)
        token_ids=caption_table(captions, tokenizer),
        first_caption=num_captions.cumsum(0) - num_captions,  # (images,)
        num_captions=num_captions,
        vocab_size=tokenizer.vocab_size,
    )


def caption_table(captions: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """Tokenise captions into one table (captions, context), as wide as the longest needs.

    open_clip pools at the largest id of a row, so the end token is the tokenizer's last id.
    """
    rows = [
        row[: MAX_CONTEXT - 1] for row in tokenizer.encode_batch([f" {text}" for text in captions])
    ]
    table = torch.zeros(len(rows), max(map(len, rows)) + 1, dtype=torch.long)  # (captions, context)
    for index, row in enumerate(rows):
        table[index, : len(row) + 1] = torch.tensor([*row, tokenizer.vocab_size - 1])
    return table
