"""What a CLIP that phiray trained says of its training, believed only of the very same weights.

    write_record(folder, ClipRecord(...))
    find_record(vision.weights, tower.state_dict()) -> ClipRecord | None

Limits: the record lies in the folder of the weights; without that folder nothing is known.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor, uint8

from phiray.checkpoints.files import write_json
from phiray.config.base import Config
from phiray.config.data import SplitConfig
from phiray.models.clip_weights import VISUAL

RECORD_NAME = "phiray_training.json"


class ClipRecord(Config):
    """How `train_clip` made a folder of weights."""

    num_images: int
    """Pictures of the training part that it learnt from; no others were read."""
    split: SplitConfig
    """What made them the training part."""
    seed: int
    """Of weights, order and choice of captions."""
    steps: int
    """Optimizer steps."""
    tower_sha256: str
    """Hash of the tower's weights, as `hash_tower` gives it."""


def write_record(folder: Path, record: ClipRecord) -> None:
    """Write the record beside the weights."""
    write_json(folder / RECORD_NAME, record.model_dump(mode="json"))


def find_record(weights: str, tensors: Mapping[str, Tensor]) -> ClipRecord | None:
    """Return the record beside the weights that a tower was read from, if it is that tower's.

    Args:
        weights: `vision.weights`; by now there may be nothing, or another tower.
        tensors: the state dict of the tower.
    """
    place = Path(weights)
    folder = place if place.is_dir() else place.parent
    try:
        record = ClipRecord.model_validate_json((folder / RECORD_NAME).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.tower_sha256 == hash_tower(tensors) else None


def hash_tower(tensors: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and values of the tower's tensors, those below `visual.`."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(VISUAL):
            tensor = tensors[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(uint8).numpy().tobytes())
    return digest.hexdigest()
