"""What a stage hands to whoever runs it: rows, the module to train, and what a checkpoint carries.

Source: DESIGN 9 (what a checkpoint holds); `tokenizer_config.json` is Hugging Face's name and form.
Limits: plain data; nothing here knows Ray.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from phiray.config.model import MODEL_FILE, ModelDescription
from phiray.config.show import yaml_from_config
from phiray.config.stages import AnyStageConfig
from phiray.data.mixture import RowRange
from phiray.data.rows import RowSource
from phiray.data.sources.annotations import Excluded
from phiray.errors import DataError, ExitCode
from phiray.models.interface import FeatureTower
from phiray.storage import AnyPath, is_url, join, path_of
from phiray.text.tokenizer import TOKENIZER_FILE, Tokenizer
from phiray.training.objective import Objective

Ledger = dict[str, list[int | str]]
"""Ids that a checkpoint and its ancestors were trained on: `image`, `book`, `document`."""

CONFIG_FILE = "config.yaml"
LEDGER_FILE = "ledger.json"
MANIFEST_FILE = "manifest.json"
"""What a run is made of: versions, commit, seed, data and models; in the run's folder."""
CARRIED_MANIFEST_FILE = "run_manifest.json"
"""The same in a checkpoint, beside MANIFEST.json, the list of its files."""
TRAINED_IMAGES_FILE = "trained_images.json"
"""Signatures of the images that a run and those before it were trained on."""
TOKENIZER_SETTINGS_FILE = "tokenizer_config.json"
"""Names the EOS token, which the tokenizer's own file does not."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a stage's rows and the tower that sees them, for a cache of its features."""

    folder: AnyPath
    """Of the pictures."""
    paths: tuple[AnyPath, ...]
    """Each once, in the order of the rows, those of the training part first."""
    load_tower: Callable[[], FeatureTower]
    """Reads the frozen tower."""


@dataclass(frozen=True)
class PreparedData:
    """What the record of a run says of its data."""

    fingerprint: str
    """Hash of all that the rows depend on; of an image only its size in bytes (`RowSource`)."""
    quick_fingerprint: str
    """What each worker compares: of the sizes of some images (`RowSource`)."""
    counts: dict[str, int]
    """What there is, and what could not be used, by reason."""
    excluded: tuple[Excluded, ...] = ()
    """Each record or document that became no row; the run lists them in a file of its own."""
    mixture: tuple[RowRange, ...] = ()
    """The sources of the rows with their weights; none where there is one."""
    images: Mapping[int, AnyPath] = field(default_factory=dict)
    """The file of each image that is trained on, by id; none for text."""
    pictures: Pictures | None = None
    """None for text."""
    features: Path | None = None
    """The list of their features in the cache; none without a cache."""


@dataclass(frozen=True)
class StageParts:
    """One stage, ready to be trained by a loop that knows none of its names."""

    source: RowSource
    """Rows of the training part."""
    validation: RowSource | None
    """Rows of the validation part; none if the settings keep none."""
    objective: Objective
    """The model with its loss; parameters that the stage does not train are frozen."""
    model: nn.Module
    """The model inside `objective`, whose state a checkpoint holds."""
    description: ModelDescription
    """How to build the model again."""
    tokenizer: Tokenizer
    """Its file travels with the checkpoint."""
    image_size: int | None
    """Side of the pictures in pixels; none for text."""
    ledger: Ledger
    """Ids learnt from, ancestors included."""
    feature_shape: tuple[int, int] | None = None
    """(patches, vision_hidden) where rows hold features of a cache in the place of pictures."""


def merge_ledgers(*ledgers: Ledger) -> Ledger:
    """Return the union of ledgers, each list sorted and without repeats."""
    merged: Ledger = {}
    for kind in sorted({kind for ledger in ledgers for kind in ledger}):
        ids: set[int | str] = {item for ledger in ledgers for item in ledger.get(kind, [])}
        merged[kind] = sorted(ids, key=lambda item: (isinstance(item, str), item))
    return merged


def read_tokenizer(root: str, folder: str) -> Tokenizer:
    """Load the tokenizer of a data set: `folder` below `root` unless it is absolute.

    Raises:
        DataError: 66 if the data set or the tokenizer is not there.
    """
    place = path_of(root)
    if not (is_url(folder) or Path(folder).is_absolute() or place.is_dir()):
        raise DataError(
            f"data.root is {root}, which is no folder. It must be the one that holds the data "
            "sets. Correct it, or make the built-in data with `phiray demo`.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return Tokenizer.load(join(place, folder))


def config_yaml(config: AnyStageConfig) -> str:
    """Return the settings as YAML, as a run and its checkpoints keep them: `--config` reads it."""
    return yaml_from_config(config, comments=False)


def checkpoint_texts(config: AnyStageConfig, parts: StageParts) -> dict[str, str]:
    """Return what a checkpoint carries beside tensors, so that its path is all one needs."""
    return {
        CONFIG_FILE: config_yaml(config),
        MODEL_FILE: parts.description.model_dump_json(indent=1),
        LEDGER_FILE: json.dumps(parts.ledger),
        TOKENIZER_FILE: parts.tokenizer.content,
        TOKENIZER_SETTINGS_FILE: json.dumps({"eos_token": parts.tokenizer.eos_token}),
    }
