"""Images with captions, and images with conversations, as rows that are read by position.

Source: DESIGN 6 (a row is a position; the split is by integer COCO image id).
Limits: rows are tokenised and images read when asked for, so a process holds texts and paths only.
"""

import hashlib
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.config.data import ImageDataConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.rows import FILLER, Row, bad_row, table_from_rows
from phiray.data.sampling import choose_sample
from phiray.data.sources.annotations import Excluded, check_excluded, existing_files
from phiray.data.sources.coco import CaptionedImage, read_coco_captions
from phiray.data.sources.conversations import Conversation, read_conversations
from phiray.data.split import SETTING_OF, Part, image_key, part_of
from phiray.errors import DataError, ExitCode
from phiray.images.paths import MAX_BYTES, ImageFolder
from phiray.storage import AnyPath, join, path_of, version_of
from phiray.text.prompts import TokenRow, Turn, caption_row, conversation_row
from phiray.text.tokenizer import Tokenizer
from phiray.types import FILLER_ROW, Progress

QUICK_SIZES = 200
"""Images whose sizes every worker compares, at each of its starts, on storage that may be slow."""


ROWS_PER_BLOCK = 128
"""About 20 MB of COCO JPEGs."""


class HasImage(Protocol):
    """What the split and the fingerprint look at."""

    @property
    def image_id(self) -> int:
        """The COCO id."""
        ...

    @property
    def path(self) -> AnyPath:
        """The image's file."""
        ...


Example = TypeVar("Example", bound=HasImage)


class CaptionRows:
    """One row per image and caption: the image, then the caption, which is learnt."""

    def __init__(
        self,
        config: ImageDataConfig,
        *,
        num_patches: int,
        seed: int,
        part: Part = "train",
        progress: Progress | None = None,
    ) -> None:
        """Read the caption files and find the images.

        Raises:
            DataError: if files or images are missing (66), or too much of them is bad (65).
        """
        root = path_of(config.root)
        files = existing_files(root, config.annotations, setting="data.annotations")
        images = ImageFolder.scan(join(root, config.images))
        found = read_coco_captions(files, images, progress=progress)
        num_usable = sum(len(image.captions) for image in found.images)
        check_excluded(
            found.excluded, num_usable=num_usable, max_bad_fraction=config.max_bad_fraction
        )
        self.examples: list[CaptionedImage] = select_part(
            found.images, config, part=part, seed=seed
        )
        self.tokenizer = Tokenizer.load(join(root, config.tokenizer))
        self.excluded = found.excluded
        self._folder = images.root
        self._cache = NodeCache(config.node_cache, max_gb=config.node_cache_gb)
        self._max_length = config.max_length
        self._num_patches = num_patches
        self._rows = [
            (image_index, caption_index)
            for image_index, image in enumerate(self.examples)
            for caption_index in range(len(image.captions))
        ]
        self.num_rows = len(self._rows)
        self.rows_per_block = ROWS_PER_BLOCK
        self.image_ids = [image.image_id for image in self.examples]
        self.counts = counts_of(self.num_rows, self.image_ids, excluded=self.excluded)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of settings, captions and sizes of images; see `fingerprint_of` for its limits."""
        return self._fingerprint(num_sizes=len(self.examples))

    @cached_property
    def quick_fingerprint(self) -> str:
        """The same, but of the sizes of some images."""
        return self._fingerprint(num_sizes=QUICK_SIZES)

    def _fingerprint(self, *, num_sizes: int) -> str:
        settings = ["caption", str(self._num_patches), str(self._max_length)]
        texts = [f"{image.image_id}:{text}" for image in self.examples for text in image.captions]
        return fingerprint_of(
            settings,
            texts,
            tokenizer=self.tokenizer,
            examples=self.examples,
            num_sizes=num_sizes,
        )

    def read(self, row_ids: npt.NDArray[np.int64]) -> pa.Table:
        """Read rows by position, as ROW_SCHEMA.

        Raises:
            DataError: 66 if the whole folder of the images is not on this node.
        """
        return read_rows(row_ids, self._read_row)

    def needed_length(self, row_id: int) -> int:
        """Return the tokens of a row, whether they fit or not."""
        return len(self._token_row(row_id).input_ids)

    def _token_row(self, row_id: int) -> TokenRow:
        image_index, caption_index = self._rows[row_id]
        caption = self.examples[image_index].captions[caption_index]
        return caption_row(self.tokenizer, caption, num_patches=self._num_patches)

    def _read_row(self, row_id: int) -> Row:
        image = self.examples[self._rows[row_id][0]]
        row = self._token_row(row_id)
        if len(row.input_ids) > self._max_length:
            detail = f"image {image.image_id}: {len(row.input_ids)} tokens, over {self._max_length}"
            return bad_row(row_id, reason="too long", detail=detail)
        return row_with_image(row_id, row, image.path, folder=self._folder, cache=self._cache)


class ConversationRows:
    """One row per conversation: the image in its first turn; every answer is learnt."""

    def __init__(
        self,
        config: ImageDataConfig,
        *,
        num_patches: int,
        seed: int,
        part: Part = "train",
        progress: Progress | None = None,
    ) -> None:
        """Read the conversation files and find the images.

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
        self.examples: list[Conversation] = select_part(found.rows, config, part=part, seed=seed)
        self.tokenizer = Tokenizer.load(join(root, config.tokenizer))
        self.excluded = found.excluded
        self._folder = images.root
        self._cache = NodeCache(config.node_cache, max_gb=config.node_cache_gb)
        self._max_length = config.max_length
        self._system = config.system_prompt
        self._num_patches = num_patches
        self.num_rows = len(self.examples)
        self.rows_per_block = ROWS_PER_BLOCK
        self.image_ids = sorted({row.image_id for row in self.examples})
        self.counts = counts_of(self.num_rows, self.image_ids, excluded=self.excluded)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of settings, turns and sizes of images; see `fingerprint_of` for its limits."""
        return self._fingerprint(num_sizes=len(self.examples))

    @cached_property
    def quick_fingerprint(self) -> str:
        """The same, but of the sizes of some images."""
        return self._fingerprint(num_sizes=QUICK_SIZES)

    def _fingerprint(self, *, num_sizes: int) -> str:
        settings = ["conversation", str(self._num_patches), str(self._max_length), self._system]
        texts = [f"{row.image_id}:{row.turns!r}" for row in self.examples]
        return fingerprint_of(
            settings,
            texts,
            tokenizer=self.tokenizer,
            examples=self.examples,
            num_sizes=num_sizes,
        )

    def read(self, row_ids: npt.NDArray[np.int64]) -> pa.Table:
        """Read rows by position, as ROW_SCHEMA.

        Raises:
            DataError: 66 if the whole folder of the images is not on this node.
        """
        return read_rows(row_ids, self._read_row)

    def needed_length(self, row_id: int) -> int:
        """Return the tokens of the first turn, without which there is no row."""
        first = self.examples[row_id].turns[:1]
        return len(self._token_row(first, max_length=sys.maxsize).input_ids)

    def _token_row(self, turns: Sequence[Turn], *, max_length: int) -> TokenRow:
        return conversation_row(
            self.tokenizer,
            turns,
            num_patches=self._num_patches,
            max_length=max_length,
            system=self._system,
        )

    def _read_row(self, row_id: int) -> Row:
        example = self.examples[row_id]
        try:
            row = self._token_row(example.turns, max_length=self._max_length)
        except DataError as error:
            detail = f"image {example.image_id}: {error.message}"
            return bad_row(row_id, reason="too long", detail=detail)
        return row_with_image(row_id, row, example.path, folder=self._folder, cache=self._cache)


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


def read_rows(row_ids: npt.NDArray[np.int64], read_row: Callable[[int], Row]) -> pa.Table:
    """Read rows one by one; FILLER_ROW gives the empty row."""
    return table_from_rows(
        [FILLER if row_id == FILLER_ROW else read_row(row_id) for row_id in row_ids.tolist()]
    )


def row_with_image(
    row_id: int, tokens: TokenRow, path: AnyPath, *, folder: AnyPath, cache: NodeCache
) -> Row:
    """Join tokens and the encoded image, or say why the file cannot be read.

    Raises:
        DataError: 66 if the whole folder is not on this node, which is no fault of a row.
    """
    try:
        with cache.open(path) as file:
            data = file.read(MAX_BYTES + 1)  # one more than allowed: the decoder refuses it
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError)
        if is_missing and _is_gone(folder):
            raise DataError(
                f"The image folder {folder} is missing on node {socket.gethostname()}. Images are "
                "read there, and must lie at that place on every such node, those of "
                "cluster.reader_labels among them. Mount the storage there, or set data.root to a "
                "place that all of them share.",
                exit_code=ExitCode.MISSING_INPUT,
            ) from error
        reason = "missing image" if is_missing else "unreadable image"
        return bad_row(row_id, reason=reason, detail=f"{path}: {error.strerror or error}")
    return Row(row_id, tokens.input_ids, tokens.labels, image=data)


def _is_gone(folder: AnyPath) -> bool:
    try:
        return not folder.is_dir()
    except OSError:  # the storage does not say
        return False


def counts_of(
    num_rows: int, image_ids: Sequence[int], *, excluded: Sequence[Excluded]
) -> dict[str, int]:
    """Count what the run's manifest lists: rows, images, and records left out by reason."""
    reasons = Counter(f"left out: {item.reason}" for item in excluded)
    return {"rows": num_rows, "images": len(image_ids), **reasons}


def fingerprint_of(
    settings: Sequence[str],
    texts: Sequence[str],
    *,
    tokenizer: Tokenizer,
    examples: Sequence[HasImage],
    num_sizes: int,
) -> str:
    """Hash all that rows depend on, wherever their files lie.

    Of an image only the size in bytes is covered, so that 118,000 of them take two seconds: one
    that is replaced by another of as many bytes keeps the fingerprint.

    Args:
        settings: kind and lengths of the rows.
        texts: what is tokenised, in the order of the rows.
        tokenizer: it makes the ids.
        examples: their images, of which each counts once.
        num_sizes: of at most so many images, chosen alike each time.
    """
    paths = {example.path: example.image_id for example in examples}
    images = list(paths.items())
    chosen = sorted(choose_sample(len(images), at_most=num_sizes))
    sizes = [f"{images[i][1]}:{_size_in_bytes(images[i][0])}" for i in chosen]
    digest = hashlib.sha256()
    for group in ([*settings, tokenizer.fingerprint, str(tokenizer.eos_id)], texts, sizes):
        digest.update(len(group).to_bytes(8, "big"))
        for text in group:
            data = text.encode()
            digest.update(len(data).to_bytes(8, "big") + data)  # no two lists give one hash
    return digest.hexdigest()


def _size_in_bytes(path: AnyPath) -> str:
    """Return an image's size, or a mark of its own for one that is gone, which a bad row tells."""
    try:
        return str(version_of(path).num_bytes)
    except OSError:
        return "missing"
