"""From the settings of image data to its rows: read files, find images, choose the part.

    caption_rows(config, num_patches=..., seed=...)        # for `align`
    conversation_rows(config, num_patches=..., seed=...)   # for `instruct`

Source: DESIGN 6 (the split is by integer COCO image id).
Limits: annotation files are read whole, by every process that builds rows.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from phiray.config.data import ImageDataConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.image_rows import HasImage, ImageRows
from phiray.data.row_formats import CaptionFormat, ConversationFormat
from phiray.data.sources.annotations import check_excluded, existing_files
from phiray.data.sources.coco import CaptionedImage, read_coco_captions
from phiray.data.sources.conversations import Conversation, read_conversations
from phiray.data.split import SETTING_OF, Part, image_key, part_of
from phiray.errors import DataError
from phiray.images.paths import ImageFolder
from phiray.storage import join, path_of
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

Example = TypeVar("Example", bound=HasImage)


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
    )


def select_part(
    examples: Sequence[Example], config: ImageDataConfig, *, part: Part, seed: int
) -> list[Example]:
    """Keep the examples of a part; of the training images at most `max_images`, chosen by seed.

    Raises:
        DataError: if nothing is left.
    """
    found = {example.image_id for example in examples}
    image_ids = sorted(i for i in found if part_of(image_key(i), config.split) == part)
    if config.max_images is not None and part == "train":
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(image_ids))
        image_ids = [image_ids[index] for index in order[: config.max_images]]
    if not image_ids:
        raise DataError(
            f"The {part} part has 0 of {len(found)} images on disk. Expected at least one. Give "
            f"more images, or change data.split.{SETTING_OF[part]}."
        )
    chosen = set(image_ids)
    return [example for example in examples if example.image_id in chosen]
