"""The paths in settings: made absolute, since Ray's workers run in folders of their own.

Limits: a value that names no existing file stays as it is (open_clip's weight tags, for one).
"""

import os
from pathlib import Path

from phiray.config.data import ImageDataConfig
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.storage import is_url


def with_absolute_paths(config: AnyStageConfig) -> AnyStageConfig:
    """Return the same settings with every path made absolute."""
    run = config.run.model_copy(update={"output_dir": absolute(config.run.output_dir)})
    data = config.data.model_copy(update={"root": absolute(config.data.root)})
    update: dict[str, object] = {"run": run, "data": data}
    if isinstance(config, AlignConfig):
        update["language_model"] = absolute(config.language_model)
        weights = absolute(config.vision.weights)
        if Path(weights).exists():
            update["vision"] = config.vision.model_copy(update={"weights": weights})
    if isinstance(config, InstructConfig):
        update["checkpoint"] = absolute(config.checkpoint)
    return config.model_copy(update=update)


def stage_paths(config: AnyStageConfig) -> dict[str, str]:
    """Return the paths of a stage's settings, by their keys."""
    paths = {"run.output_dir": config.run.output_dir, "data.root": config.data.root}
    if isinstance(config, AlignConfig):
        paths["language_model"] = config.language_model
        if os.sep in config.vision.weights:  # else it is one of open_clip's tags
            paths["vision.weights"] = config.vision.weights
    if isinstance(config, InstructConfig):
        paths["checkpoint"] = config.checkpoint
    return paths


def input_paths(config: AnyStageConfig) -> dict[str, str]:
    """Return all that a run reads, by the keys of the settings; what is below `data.root` apart."""
    data = config.data
    paths = stage_paths(config)
    if isinstance(data, ImageDataConfig):
        paths["data.images"] = data.images
        if data.feature_folder is not None:
            paths["data.feature_cache"] = str(data.feature_folder)
    else:
        paths["data.prepared"] = data.prepared
    del paths["run.output_dir"]
    return {key: path for key, path in paths.items() if is_url(path) or Path(path).is_absolute()}


def absolute(path: str) -> str:
    """Make a path absolute; `~` is the user's home, as in a shell. A URL is the same everywhere."""
    if is_url(path):
        return path
    return str(Path(path).expanduser().absolute())
