"""Settings of the data: where it lies, how it is split, how rows are made.

Source: the layouts are those of the real downloads (COCO 2017, LLaVA-Instruct-150K, Project
Gutenberg text files, RedPajama-Data-1T-Sample), below one root folder.
Limits: relative paths are looked up below `root`. Images and what belongs to them may lie at a URL
that fsspec can open; text may not.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from phiray.config.base import Config
from phiray.storage import is_url

LLAVA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
"""The system sentence of LLaVA v1 (llava/conversation.py)."""

MAX_WEIGHT = 1000
"""Of a source; more is a slip of the pen, and an epoch's order is held in memory."""
_LENGTH_MULTIPLE = 8
"""Sequence lengths are multiples of it: fewer different shapes, and aligned rows on GPUs."""
_GITHUB = re.compile("github://", re.IGNORECASE)


def padded_length(length: int) -> int:
    """Return the positions that a batch takes whose longest row has `length` tokens."""
    return -(-length // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE


def longest_row(positions: int) -> int:
    """Return the tokens of the longest row whose batch takes at most so many positions."""
    return positions // _LENGTH_MULTIPLE * _LENGTH_MULTIPLE


def absolute_folder(folder: str | None) -> str | None:
    """Refuse a folder that would be another one in each process's own working directory."""
    if folder is not None and not Path(folder).expanduser().is_absolute():
        raise ValueError(f"{folder!r} is no absolute path. Each process has a folder of its own.")
    return folder


def without_credentials(place: str) -> str:
    """Refuse a URL with a password, without repeating it: settings are kept, logged and sent."""
    # `github://owner:repository@commit` has the same form
    if is_url(place) and urlsplit(place).password is not None and not _GITHUB.match(place):
        raise ValueError(
            "the URL holds user:password@. A run keeps and shows its settings. Take them out, and "
            "give each node credentials of its own, as the package of the storage reads them (its "
            "environment, or a file in the user's home)."
        )
    return place


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights of sources that are out of range."""
    for name, weight in weights.items():
        if not 0 < weight <= MAX_WEIGHT:
            raise ValueError(
                f"weights.{name} is {weight:g}. It must be above 0 and at most {MAX_WEIGHT}. To "
                "leave a source out, take its file away."
            )


class SplitConfig(Config):
    """Which part of the data is held out. The same function serves every stage and evaluation."""

    heldout_fraction: float = Field(default=0.1, gt=0, lt=1)
    """Share (0..1) of images, books or documents that no stage trains on."""
    validation_fraction: float = Field(default=0.0, ge=0, lt=1)
    """Share (0..1) of all others on which a run measures itself at each checkpoint, and does not
    train; 0 measures nothing. A search needs it: whoever chooses by held-out data spoils them."""
    salt: str = "phiray-split-1"
    """Text that is hashed with the id. Changing it changes the split of every id."""


class TextDataConfig(Config):
    """Documents for language-model training."""

    root: str = "phiray-demo/data"
    """Folder that holds the data sets; the default is what `phiray demo` writes."""
    source: Literal["gutenberg", "redpajama"]
    """`gutenberg` reads `gutenberg/books/*.txt`, `redpajama` reads `redpajama/*.jsonl`."""
    tokenizer: str = "tokenizer"
    """Folder with a `tokenizer.json`, below `root` unless absolute."""
    prepared: str = "prepared"
    """Folder for tokenised shards, below `root` unless absolute. Made on first use."""
    sequence_length: int = Field(default=128, ge=8)
    """Tokens in one row. Phi-2 was built for at most 2,048."""
    max_train_tokens: int | None = Field(default=None, ge=1)
    """Stop tokenising once this many training tokens are there; none means all. With
    `separate_files` each file gives so many."""
    separate_files: bool = False
    """Keep the rows of each file together, and no two files in one row, so that it is known which
    rows came from which source; each file then ends in a row that is filled up."""
    weights: dict[str, float] = Field(default={})
    """How often the rows of a file come in an epoch, by its name without folder and suffix, such as
    {arxiv_sample: 2, github_sample: 0.5}: 1 is once, 2 twice, 0.5 every second row, and the others
    in the next epoch. Files that are not named have 1. Needs `separate_files`."""
    split: SplitConfig = SplitConfig()
    """How documents are held out."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share (0..1) of documents that may be unusable before the run stops."""
    node_cache: str | None = None
    """Folder on each node's own disk for copies of the tokenised shards, fetched on first use and
    verified; absolute. It is for nodes that share their storage: none reads that directly. The
    variable PHIRAY_NODE_CACHE of a node names another folder for this node."""
    node_cache_gb: float | None = Field(default=None, gt=0)
    """Most of that disk in 10**9 bytes: what was not used for longest goes first. None takes all
    but a tenth of the disk. Where a file has no room it is read from the storage."""

    _check_node_cache = field_validator("node_cache")(absolute_folder)

    @field_validator("root", "tokenizer", "prepared")
    @classmethod
    def _check_path(cls, place: str) -> str:
        if is_url(without_credentials(place)):
            raise ValueError(
                f"{place!r} is a URL. Text is read by path: each start hashes all of it. Mount the "
                "storage, or copy the text to storage that all nodes share."
            )
        return place

    @model_validator(mode="after")
    def _check_weights(self) -> "TextDataConfig":
        check_weights(self.weights)
        if self.weights and not self.separate_files:
            raise ValueError(
                "weights is set, but separate_files is false: rows hold text of several files, and "
                "cannot be told apart. Set separate_files=true, or leave weights out."
            )
        return self


class ImageDataConfig(Config):
    """Images with captions (`align`) or with conversations (`instruct`)."""

    root: str = "phiray-demo/data"
    """Folder that holds the data sets; the default is what `phiray demo` writes. It, `images`,
    `tokenizer` and the files named here may be URLs that fsspec can open (s3://bucket/data); the
    environment of each node then needs the package for them (s3fs, gcsfs)."""
    images: str = "coco/images"
    """Folder searched for images, below `root` unless absolute."""
    annotations: list[str] = Field(
        default=[
            "coco/annotations/captions_train2017.json",
            "coco/annotations/captions_val2017.json",
            "coco/annotations/captions_train2014.json",
            "coco/annotations/captions_val2014.json",
        ]
    )
    """COCO caption files; those that do not exist are passed over as long as one does."""
    conversations: list[str] = Field(
        default=["instruct/llava_instruct_150k.json", "instruct/derived_from_coco.json"]
    )
    """LLaVA conversation files; those that do not exist are passed over as long as one does. Rows
    without `image`, as LLaVA's mixes have them, are learnt as text, and split by its hash."""
    weights: dict[str, float] = Field(default={})
    """How often each conversation of a file comes in an epoch, by the file's name without its
    suffix, such as {sharegpt: 0.5}: 1 is once, 2 twice, 0.5 every second one, and the others in the
    next epoch. Files that are not named have 1."""
    tokenizer: str = "tokenizer"
    """Folder with a `tokenizer.json`, below `root` unless absolute."""
    max_length: int = Field(default=128, ge=8)
    """Longest row in tokens, image positions included. Longer rows lose whole turns, not an EOS."""
    system_prompt: str = LLAVA_SYSTEM
    """Sentence in front of a conversation (LLaVA-1.5's and its Phi-2 peers'); may be empty."""
    group_by_length: bool = False
    """Put rows of about the same length into the same step, so that batches hold less padding.
    Each row comes as often in an epoch as without. Lengths are estimated from characters."""
    packing: bool = False
    """Run the short rows of a micro-batch end to end, in fewer sequences of at most `max_length`
    tokens. No row sees another, so a step is the same up to rounding, and computes less padding.
    Attention is then masked, which on a GPU keeps it from its fastest form."""
    max_images: int | None = Field(default=None, ge=1)
    """Use at most this many training images, chosen by the seed; none means all. Conversations
    without an image all stay."""
    split: SplitConfig = SplitConfig()
    """How images are held out, by integer COCO image id; texts without an image by their hash."""
    decode: Literal["auto", "worker", "tasks"] = "auto"
    """Where JPEGs are decoded: beside the trainer, or in Ray tasks. `auto` takes `tasks` only when
    workers hold GPUs. Both give the same rows."""
    readers: int = Field(default=1, ge=1)
    """Ray Data actors that read for each worker; each reserves half a CPU. With `decode: tasks`
    each of them decodes as well: raise it where a GPU waits for images."""
    feature_cache: str | None = Field(default=None, min_length=1)
    """Folder for what the frozen CLIP makes of each image, below `root` unless absolute. It is made
    by `phiray data prepare`, or on first use, and read in place of the images: neither decoding nor
    the tower then costs time in any step, for any stage or search that shares the folder. One of
    COCO's images takes 75 kB (49 patches of 768, in bf16). None computes features in each step.
    They differ by the rounding to bf16, so a run keeps to one of the two."""
    max_bad_fraction: float = Field(default=0.01, ge=0, le=1)
    """Share (0..1) of rows that may be unusable before the run stops."""
    sign_images: bool = True
    """Decode each training image once before a run starts (40,000 take 90 s on two cores): bad ones
    are then counted before the first step, and evaluation refuses their copies under other ids."""
    node_cache: str | None = None
    """Folder on each node's own disk for copies of the images, fetched on first use and verified;
    absolute. It is for nodes that share their storage: none reads that directly. The
    variable PHIRAY_NODE_CACHE of a node names another folder for this node."""
    node_cache_gb: float | None = Field(default=None, gt=0)
    """Most of that disk in 10**9 bytes: what was not used for longest goes first. None takes all
    but a tenth of the disk. Where a file has no room it is read from the storage."""

    _check_node_cache = field_validator("node_cache")(absolute_folder)

    @property
    def feature_folder(self) -> Path | None:
        """Where features are kept; none if they are not."""
        if self.feature_cache is None:
            return None
        place = Path(self.feature_cache).expanduser()
        return place if place.is_absolute() else Path(self.root) / place

    @field_validator("root", "images", "tokenizer")
    @classmethod
    def _check_place(cls, place: str) -> str:
        return without_credentials(place)

    @field_validator("annotations", "conversations")
    @classmethod
    def _check_files(cls, places: list[str]) -> list[str]:
        return [without_credentials(place) for place in places]

    @model_validator(mode="after")
    def _check_feature_cache(self) -> "ImageDataConfig":
        place = self.feature_cache
        if place is not None and (
            is_url(place) or (is_url(self.root) and not Path(place).expanduser().is_absolute())
        ):
            raise ValueError(
                f"feature_cache is {place!r}, which would lie at a URL. Features are mapped into "
                "memory. Give an absolute path, on storage that all nodes share."
            )
        return self

    @model_validator(mode="after")
    def _check_lists(self) -> "ImageDataConfig":
        if not self.annotations:
            raise ValueError("annotations is empty. Name at least one COCO caption file.")
        if not self.conversations:
            raise ValueError("conversations is empty. Name at least one LLaVA conversation file.")
        return self

    @property
    def max_packed_length(self) -> int | None:
        """Longest sequence of rows that are run end to end; none runs each by itself."""
        return self.max_length if self.packing else None

    @model_validator(mode="after")
    def _check_weights(self) -> "ImageDataConfig":
        check_weights(self.weights)
        names = [PurePosixPath(name).stem for name in self.conversations]
        for name in self.weights:
            if name not in names:
                raise ValueError(
                    f"weights names {name!r}, which is no file of conversations. It must be one "
                    f"of {', '.join(names)}. Correct it."
                )
        return self
