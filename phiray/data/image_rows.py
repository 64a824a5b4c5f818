"""Captions of images, and conversations with or without one, as rows read by position.

Source: DESIGN 6 (a row is a position).
Limits: rows are tokenised and images read when asked for, so a process holds texts and paths only.
"""

import copy
import hashlib
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.data.cache.node_cache import NodeCache
from phiray.data.feature_view import FeatureView
from phiray.data.mixture import RowRange
from phiray.data.row_formats import RowFormat
from phiray.data.rows import FILLER, Row, bad_row, table_from_rows
from phiray.data.sampling import choose_sample
from phiray.data.sources.annotations import Excluded
from phiray.data.split import text_id
from phiray.errors import DataError, ExitCode
from phiray.images.paths import MAX_BYTES
from phiray.storage import AnyPath, version_of
from phiray.text.prompts import TokenRow
from phiray.text.tokenizer import Tokenizer
from phiray.types import FILLER_ROW

QUICK_SIZES = 200
"""Images whose sizes every worker compares, at each of its starts, on storage that may be slow."""
ROWS_PER_BLOCK = 128
"""About 20 MB of COCO JPEGs."""


class HasKey(Protocol):
    """What the split, the ledger and the fingerprint look at."""

    @property
    def key(self) -> str:
        """What the split goes by: `image:ID`, or `document:HASH` where there is no image."""
        ...

    @property
    def image_id(self) -> int | None:
        """The COCO id; none where there is no image."""
        ...

    @property
    def path(self) -> AnyPath | None:
        """The image's file; none where there is none."""
        ...

    @property
    def source(self) -> str:
        """Which source of a mixture it is of."""
        ...


Example = TypeVar("Example", bound=HasKey)


class ImageRows(Generic[Example]):
    """The rows of all examples of a part, example by example."""

    def __init__(
        self,
        examples: list[Example],
        row_format: RowFormat[Example],
        *,
        folder: AnyPath,
        cache: NodeCache,
        excluded: Sequence[Excluded],
        weights: Mapping[str, float],
    ) -> None:
        """Give each row its position.

        Args:
            examples: of which rows are made, in their order.
            row_format: makes the rows.
            folder: of the images.
            cache: copies of the node on which rows are read.
            excluded: records that became no example.
            weights: of sources, by name; those not named have 1.
        """
        self.examples = examples
        self.tokenizer = row_format.tokenizer
        self.excluded = excluded
        self._format = row_format
        self._folder = folder
        self._cache = cache
        self._features: FeatureView | None = None
        self._rows = [
            (number, index)
            for number, example in enumerate(examples)
            for index in range(len(row_format.texts(example)))
        ]
        self.num_rows = len(self._rows)
        self.mixture = self._ranges(weights)
        self.rows_per_block = ROWS_PER_BLOCK
        self.image_ids = sorted({e.image_id for e in examples if e.image_id is not None})
        self.text_ids = sorted(text_id(e.key) for e in examples if e.image_id is None)
        texts = {"rows without an image": len(self.text_ids)} if self.text_ids else {}
        reasons = Counter(f"left out: {item.reason}" for item in excluded)
        self.counts = {"rows": self.num_rows, "images": len(self.image_ids), **texts, **reasons}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of settings, texts and sizes of images; see `fingerprint_of` for its limits."""
        return self._fingerprint(num_sizes=len(self.examples))

    @cached_property
    def quick_fingerprint(self) -> str:
        """The same, but of the sizes of some images."""
        return self._fingerprint(num_sizes=QUICK_SIZES)

    def _ranges(self, weights: Mapping[str, float]) -> tuple[RowRange, ...]:
        """Find the rows of each source, which stand together."""
        sources = (self.examples[number].source for number, _ in self._rows)
        ranges: list[RowRange] = []
        first_row = 0
        for name, group in groupby(sources):
            num_rows = len(list(group))
            ranges.append(RowRange(name, first_row, num_rows, weights.get(name, 1.0)))
            first_row += num_rows
        return tuple(ranges)

    def _fingerprint(self, *, num_sizes: int) -> str:
        weighed = any(part.weight != 1 for part in self.mixture)
        ranges = [f"{part.name}:{part.num_rows}:{part.weight}" for part in self.mixture]
        return fingerprint_of(
            [*self._format.settings, *(ranges if weighed else [])],
            [text for example in self.examples for text in self._format.texts(example)],
            tokenizer=self.tokenizer,
            examples=self.examples,
            num_sizes=num_sizes,
        )

    def read(self, row_ids: npt.NDArray[np.int64]) -> pa.Table:
        """Read rows by position, as ROW_SCHEMA; FILLER_ROW gives the empty row.

        Raises:
            DataError: 66 if the whole folder of the images is not on this node.
        """
        return table_from_rows(
            [
                FILLER if row_id == FILLER_ROW else self._read_row(row_id)
                for row_id in row_ids.tolist()
            ]
        )

    def with_features(self, view: FeatureView) -> "ImageRows[Example]":
        """Return the same rows with what the tower made of their images, in place of these."""
        rows = copy.copy(self)
        rows._features = view
        rows.rows_per_block = view.rows_per_block(at_most=ROWS_PER_BLOCK)
        return rows

    def estimate_lengths(self) -> npt.NDArray[np.int64]:
        """Say about how many tokens each row has, by its characters: (num_rows,)."""
        estimate = self._format.estimate_length
        return np.array(
            [estimate(self.examples[number], index) for number, index in self._rows], dtype=np.int64
        )

    def needed_length(self, row_id: int) -> int:
        """Return the tokens that a row takes at least, whether they fit or not."""
        number, index = self._rows[row_id]
        return self._format.needed_length(self.examples[number], index)

    def _read_row(self, row_id: int) -> Row:
        number, index = self._rows[row_id]
        example = self.examples[number]
        try:
            row = self._format.token_row(example, index)
        except DataError as error:
            return bad_row(row_id, reason="too long", detail=f"{example.key}: {error.message}")
        if example.path is None:
            return Row(row_id, row.input_ids, row.labels)
        if self._features is not None:
            return self._features.row(row_id, row, example.path, folder=self._folder)
        return row_with_image(row_id, row, example.path, folder=self._folder, cache=self._cache)


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


def fingerprint_of(
    settings: Sequence[str],
    texts: Sequence[str],
    *,
    tokenizer: Tokenizer,
    examples: Sequence[HasKey],
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
    paths = {e.path: e.image_id for e in examples if e.path is not None}
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
