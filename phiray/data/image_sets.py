"""From the settings of image data to its rows: read files, find images, choose the part.

    caption_rows(config, num_patches=..., seed=...)        # for `align`
    conversation_rows(config, num_patches=..., seed=...)   # for `instruct`

Source: DESIGN 6 (the split is by integer COCO image id; text without an image by its hash).
Limits: annotation files are read whole, by every process that builds rows.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from phiray.config.data import ImageDataConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.image_rows import HasKey, ImageRows
from phiray.data.row_formats import CaptionFormat, ConversationFormat
from phiray.data.sources.annotations import check_excluded, existing_files
from phiray.data.sources.coco import CaptionedImage, read_coco_captions
from phiray.data.sources.conversations import Conversation, read_conversations
from phiray.data.split import SETTING_OF, Part, part_of
from phiray.errors import DataError
from phiray.images.paths import ImageFolder
from phiray.storage import join, path_of
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

Example = TypeVar("Example", bound=HasKey)


def caption_rows(
    config: ImageDataConfig,
    *,
    num_patches: int,
    seed: int,
    part: Part = "train",
    progress: Progress | None = None,
) -> ImageRows[CaptionedImage]:
    """Read the caption files and find the images: one row per image and caption.

    Raises:
        DataError: if files or images are missing (66), or too much of them is bad (65).
    """
    root = path_of(config.root)
    files = existing_files(root, config.annotations, setting="data.annotations")
    images = ImageFolder.scan(join(root, config.images))
    found = read_coco_captions(files, images, progress=progress)
    num_usable = sum(len(image.captions) for image in found.images)
    check_excluded(found.excluded, num_usable=num_usable, max_bad_fraction=config.max_bad_fraction)
    tokenizer = Tokenizer.load(join(root, config.tokenizer))
    return ImageRows(
        select_part(found.images, config, part=part, seed=seed),
        CaptionFormat(tokenizer, num_patches, config.max_length),
        folder=images.root,
        cache=NodeCache(config.node_cache, max_gb=config.node_cache_gb),
        excluded=found.excluded,
        weights={},
    )


def conversation_rows(
    config: ImageDataConfig,
    *,
    num_patches: int,
    seed: int,
    part: Part = "train",
    progress: Progress | None = None,
) -> ImageRows[Conversation]:
    """Read the conversation files and find the images: one row per conversation.

    Raises:
        DataError: if files or images are missing (66), or too much of them is bad (65).
    """
    root = path_of(config.root)
    files = existing_files(root, config.conversations, setting="data.conversations")
    images = ImageFolder.scan(join(root, config.images))
    found = read_conversations(files, images, progress=progress)
    check_excluded(
        found.excluded, num_usable=len(found.rows), max_bad_fraction=config.max_bad_fraction
    )
    tokenizer = Tokenizer.load(join(root, config.tokenizer))
    return ImageRows(
        select_part(found.rows, config, part=part, seed=seed),
        ConversationFormat(tokenizer, num_patches, config.max_length, config.system_prompt),
        folder=images.root,
        cache=NodeCache(config.node_cache, max_gb=config.node_cache_gb),
        excluded=found.excluded,
        weights=config.weights,
    )


def select_part(
    examples: Sequence[Example], config: ImageDataConfig, *, part: Part, seed: int
) -> list[Example]:
    """Keep the examples of a part; of the training images at most `max_images`, chosen by seed.

    Raises:
        DataError: if nothing is left.
    """
    own = [example for example in examples if part_of(example.key, config.split) == part]
    if not own:
        num_images = len({example.image_id for example in examples} - {None})
        num_texts = sum(example.image_id is None for example in examples)
        texts = f" and 0 of {num_texts} texts without one" if num_texts else ""
        raise DataError(
            f"The {part} part has 0 of {num_images} images on disk{texts}. Expected at least one. "
            f"Give more data, or change data.split.{SETTING_OF[part]}."
        )
    if config.max_images is None or part != "train":
        return own
    image_ids = sorted({e.image_id for e in own if e.image_id is not None})
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(image_ids))
    chosen = {image_ids[index] for index in order[: config.max_images]}
    return [e for e in own if e.image_id is None or e.image_id in chosen]
