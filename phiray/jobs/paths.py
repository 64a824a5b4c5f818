"""Absolute paths in settings, since Ray's workers run in folders of their own.

Limits: a value that names no existing file stays as it is (open_clip's weight tags, for one).
"""

from pathlib import Path

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


def absolute(path: str) -> str:
    """Make a path absolute; `~` is the user's home, as in a shell. A URL is the same everywhere."""
    if is_url(path):
        return path
    return str(Path(path).expanduser().absolute())
