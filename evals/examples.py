"""Held-out examples of the data, chosen the same way for every run and checked against its ledger.

Source: the row classes that training reads, with the other part of the split.
Limits: all examples of a suite are in memory, pictures included (200 at 224 pixels: 30 MB).
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from phiray.config.data import ImageDataConfig
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.data.signed_images import SignedImages
from phiray.data.sources.annotations import say_counts
from phiray.data.sources.coco import CaptionedImage
from phiray.data.sources.conversations import Conversation
from phiray.data.split import Part, split_fraction, text_id
from phiray.errors import DataError
from phiray.evals.caption import CaptionExample, CaptionTask
from phiray.evals.cider import idf_from_references
from phiray.evals.contamination import check_contamination
from phiray.evals.copies import check_copies
from phiray.evals.instruct import InstructExample, InstructTask
from phiray.evals.scoring import Pixels
from phiray.evals.settings import EvalSettings
from phiray.evals.tokenize_captions import tokenize_captions
from phiray.images.decode import ImageError, decode_pixels
from phiray.images.signature import Signature, signature_from_pixels
from phiray.images.transform import resize_and_crop
from phiray.storage import AnyPath, join, path_of
from phiray.text.prompts import caption_row, conversation_row
from phiray.text.tokenizer import Tokenizer
from phiray.types import Progress

_Example = TypeVar("_Example", CaptionedImage, Conversation)

MAX_CONSTANT_IMAGES = 1000
"""Train images among whose captions the constant row is chosen, the first by hash of their id."""
MAX_IDF_IMAGES = 40_000
"""Train images whose captions idf counts, the first by hash of their id: a minute's work."""

_NO_CHOICE = 0
"""The seed of rows of which none are left out by choice."""


@dataclass(frozen=True)
class EvalData:
    """Where examples come from and how a model wants them."""

    config: ImageDataConfig
    tokenizer: Tokenizer
    num_patches: int
    image_size: int
    ledger: Mapping[str, Sequence[int | str]]
    settings: EvalSettings
    trained_images: SignedImages | None = None
    """None of what carries no signatures."""
    progress: Progress | None = None


def load_caption_task(data: EvalData) -> tuple[CaptionTask, dict[str, object]]:
    """Read held-out images with their captions, and the train captions for idf and constant.

    Returns:
        The task, and what the report says of it.

    Raises:
        DataError: if a held-out id, or a copy of a scored picture, was trained on; or if fewer than
            two images can be used.
    """
    heldout = _caption_rows(data, "heldout").examples
    num_trained = check_contamination(data.ledger, "image", [e.image_id for e in heldout])
    reader = _Reader(data)
    examples: list[CaptionExample] = []
    wanted = min(data.settings.max_images, len(heldout))
    for image in _in_hash_order(heldout, data):
        if len(examples) == wanted:
            break
        reader.tell("reading held-out images", len(examples), wanted)
        captions = _usable_captions(image, data, reader)
        pixels = reader.read(image.path) if captions else None
        if pixels is not None:
            examples.append(CaptionExample(image.image_id, pixels, captions))
    reader.tell("reading held-out images", wanted, wanted)
    reader.check_bad()
    num_compared = reader.check_copies(data.trained_images)
    if len(examples) < 2:
        raise DataError(
            f"{len(examples)} of {len(heldout)} held-out images can be used "
            f"({say_counts(reader.skipped)}). Shuffled images need at least 2. Give more images, "
            "or raise data.split.heldout_fraction."
        )
    references = _train_captions(data)
    words: list[list[str]] = []
    for texts in references:
        reader.tell("counting words of train captions", len(words), len(references))
        words.append(tokenize_captions(texts))
    reader.tell("counting words of train captions", len(words), len(references))
    task = CaptionTask(
        examples=examples,
        train_captions=references[:MAX_CONSTANT_IMAGES],
        idf=idf_from_references(words),
        tokenizer=data.tokenizer,
        num_patches=data.num_patches,
        settings=data.settings,
        progress=data.progress,
    )
    return task, {
        "images": len(examples),
        "captions": sum(len(example.captions) for example in examples),
        "heldout_images": len(heldout),
        "idf_images": len(references),
        "idf_sha256": hash_texts([repr(captions) for captions in references]),
        "trained_images_checked": num_trained,
        "trained_images_compared": num_compared,
        "files": _existing_names(data.config),
        "skipped": dict(reader.skipped),
        "examples_sha256": hash_texts([f"{e.image_id}:{c}" for e in examples for c in e.captions]),
    }


def load_instruct_task(data: EvalData) -> tuple[InstructTask, dict[str, object]]:
    """Read held-out conversations; those without an image are counted, not scored.

    Returns:
        The task, and what the report says of it.

    Raises:
        DataError: if a held-out id, or a copy of a scored picture, was trained on; or if no
            conversation can be used.
    """
    config = data.config
    heldout, texts = _conversations(data)
    num_trained = check_contamination(data.ledger, "image", [str(e.image_id) for e in heldout])
    check_contamination(data.ledger, "document", [text_id(e.key) for e in texts])
    reader = _Reader(data)
    if texts:
        reader.skipped["no image"] = len(texts)
    examples: list[InstructExample] = []
    files: Counter[str] = Counter()
    wanted = min(data.settings.max_conversations, len(heldout))
    for row in _in_hash_order(heldout, data):
        if len(examples) == wanted:
            break
        reader.tell("reading held-out conversations", len(examples), wanted)
        assert row.image_id is not None
        assert row.path is not None
        pixels = reader.read(row.path) if _fits(row, data, reader) else None
        if pixels is not None:
            name = f"{row.image_id}-{hash_texts([repr(row.turns)])[:8]}"
            examples.append(InstructExample(name, row.image_id, pixels, row.turns))
            files[row.file] += 1
    reader.tell("reading held-out conversations", wanted, wanted)
    reader.check_bad()
    num_compared = reader.check_copies(data.trained_images)
    if not examples:
        raise DataError(
            f"None of {len(heldout)} held-out conversations can be used "
            f"({say_counts(reader.skipped)}). Expected at least one. Raise data.max_length, or "
            "give more conversations."
        )
    task = InstructTask(
        examples=examples,
        tokenizer=data.tokenizer,
        num_patches=data.num_patches,
        max_length=config.max_length,
        system=config.system_prompt,
        settings=data.settings,
        progress=data.progress,
    )
    return task, {
        "conversations": len(examples),
        "images": len({example.image_id for example in examples}),
        "heldout_conversations": len(heldout),
        "trained_images_checked": num_trained,
        "trained_images_compared": num_compared,
        "conversations_by_file": dict(files),
        "skipped": dict(reader.skipped),
        "examples_sha256": hash_texts([f"{e.conversation_id}:{e.turns!r}" for e in examples]),
    }


class _Reader:
    """Reads pictures, and counts what cannot be used by reason."""

    def __init__(self, data: EvalData) -> None:
        self._image_size = data.image_size
        self._progress = data.progress
        self._max_bad_fraction = data.config.max_bad_fraction
        self._num_read = 0
        self._num_bad = 0
        self._signatures: dict[str, Signature] = {}
        self.skipped: Counter[str] = Counter()

    def read(self, path: AnyPath) -> Pixels | None:
        """Decode one picture; None, counted, if it cannot be used."""
        self._num_read += 1
        try:
            pixels = decode_pixels(path.read_bytes())
            if path.name not in self._signatures:
                self._signatures[path.name] = signature_from_pixels(pixels)
            return resize_and_crop(pixels, image_size=self._image_size).numpy()
        except ImageError as error:
            self.skipped[error.reason] += 1
        except OSError:
            self.skipped["missing image"] += 1
        self._num_bad += 1
        return None

    def check_bad(self) -> None:
        """Stop where too large a share of the pictures is bad: scores would be of other data.

        One bad picture stops nothing, however few there are.

        Raises:
            DataError: with the counts by reason.
        """
        if self._num_bad > max(1.0, self._max_bad_fraction * self._num_read):
            raise DataError(
                f"{self._num_bad} of {self._num_read} held-out images cannot be used "
                f"({say_counts(self.skipped)}). At most "
                f"data.max_bad_fraction={self._max_bad_fraction} of them may be bad. "
                "`phiray data check` names them; mend or remove them."
            )

    def check_copies(self, trained: SignedImages | None) -> int | None:
        """Refuse copies of trained pictures; return how many were compared with, if they are known.

        Raises:
            DataError: naming them.
        """
        return None if trained is None else check_copies(trained, self._signatures)

    def tell(self, description: str, done: int, total: int) -> None:
        """Pass progress on."""
        if self._progress:
            self._progress(description, done, total)


def _train_captions(data: EvalData) -> list[tuple[str, ...]]:
    """Read the captions of the train part: of the split, not of what the run chose from it."""
    config = data.config.model_copy(update={"max_images": None})
    train = _caption_rows(replace(data, config=config), "train").examples
    return [image.captions for image in _in_hash_order(train, data)[:MAX_IDF_IMAGES]]


def _existing_names(config: ImageDataConfig) -> list[str]:
    """Name the caption files that exist, without their folders."""
    root = path_of(config.root)
    return [Path(name).name for name in config.annotations if join(root, name).is_file()]


def _caption_rows(data: EvalData, part: Part) -> ImageRows[CaptionedImage]:
    return caption_rows(
        data.config,
        num_patches=data.num_patches,
        seed=_NO_CHOICE,
        part=part,
        progress=data.progress,
    )


def _conversations(data: EvalData) -> tuple[list[Conversation], list[Conversation]]:
    """Read held-out conversations: those with an image, and those without."""
    rows = conversation_rows(
        data.config,
        num_patches=data.num_patches,
        seed=_NO_CHOICE,
        part="heldout",
        progress=data.progress,
    ).examples
    return [e for e in rows if e.path is not None], [e for e in rows if e.path is None]


def _in_hash_order(examples: Sequence[_Example], data: EvalData) -> list[_Example]:
    """Sort by a hash of the image id: the first n are a fair sample, the same for every run."""
    salt = f"{data.config.split.salt}:order"
    return sorted(examples, key=lambda e: (split_fraction(e.key, salt=salt), str(e.path)))


def _usable_captions(image: CaptionedImage, data: EvalData, reader: _Reader) -> list[str]:
    captions = []
    for caption in image.captions[: data.settings.captions_per_image]:
        row = caption_row(data.tokenizer, caption, num_patches=data.num_patches)
        if len(row.input_ids) > data.config.max_length:
            reader.skipped["too long"] += 1
        else:
            captions.append(caption)
    return captions


def _fits(row: Conversation, data: EvalData, reader: _Reader) -> bool:
    try:
        conversation_row(
            data.tokenizer,
            row.turns,
            num_patches=data.num_patches,
            max_length=data.config.max_length,
            system=data.config.system_prompt,
        )
    except DataError:
        reader.skipped["too long"] += 1
        return False
    return True


def hash_texts(texts: Sequence[str]) -> str:
    """Hash texts in their order: what a result records of the examples it was made on."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()
