"""The trained models that a stage starts from: pinned to one checkpoint, and told apart by hash.

    pin_models(config) -> AnyStageConfig        # a run's path becomes that of its newest checkpoint
    identify_models(config) -> dict[str, str]   # by key of the settings

Source: DESIGN 9 (the record of a run holds the hashes of its inputs).
Limits: a checkpoint is known by its manifest, which holds the hash of each file; any other folder
(a download of Phi or of CLIP) by its files, hashed at each start, about 1 GB/s.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from phiray.checkpoints.files import hash_file
from phiray.checkpoints.manifest import MANIFEST_NAME
from phiray.checkpoints.read import resolve_checkpoint
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.data.manifest import file_entries
from phiray.models.phi_sizes import is_phi_folder
from phiray.types import Progress


def pin_models(config: AnyStageConfig) -> AnyStageConfig:
    """Return the settings with each run that they start from replaced by its newest checkpoint.

    Each worker, and each that Ray starts in place of a lost one, would otherwise take whatever is
    newest at that moment: a run that still trains would give them different models.

    Raises:
        CheckpointError: 66 if a run has no checkpoint, 65 if the one that is named is broken.
    """
    if isinstance(config, AlignConfig) and not is_phi_folder(Path(config.language_model)):
        pinned = resolve_checkpoint(Path(config.language_model))
        return config.model_copy(update={"language_model": str(pinned)})
    if isinstance(config, InstructConfig):
        pinned = resolve_checkpoint(Path(config.checkpoint))
        return config.model_copy(update={"checkpoint": str(pinned)})
    return config


def identify_models(config: AnyStageConfig, *, progress: Progress | None = None) -> dict[str, str]:
    """Return what tells each given model from another one, by its key in the settings.

    Args:
        config: pinned settings; a name that is no path (a tag of open_clip) is its own identity.
        progress: told of the files that are hashed.

    Raises:
        DataError: if a file cannot be read (66, 77 or 74).
    """
    given: dict[str, str] = {}
    if isinstance(config, AlignConfig):
        given = {"language_model": config.language_model, "vision.weights": config.vision.weights}
    if isinstance(config, InstructConfig):
        given = {"checkpoint": config.checkpoint}
    return {
        key: _identify(Path(path), progress=progress) if Path(path).exists() else path
        for key, path in given.items()
    }


def _identify(path: Path, *, progress: Progress | None) -> str:
    if (path / MANIFEST_NAME).is_file():
        return hash_file(path / MANIFEST_NAME)
    listed = sorted(path.iterdir()) if path.is_dir() else [path]
    files = [file for file in listed if file.is_file()]
    entries = file_entries(files, root=path if path.is_dir() else path.parent, progress=progress)
    return hashlib.sha256(json.dumps([asdict(entry) for entry in entries]).encode()).hexdigest()
