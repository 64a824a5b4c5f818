"""Absolute paths in settings, since Ray's workers run in folders of their own.

Limits: a value that names no existing file stays as it is (open_clip's weight tags, for one).
"""

from pathlib import Path

from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig


def with_absolute_paths(config: AnyStageConfig) -> AnyStageConfig:
    """Return the same settings with every path made absolute."""
    run = config.run.model_copy(update={"output_dir": str(Path(config.run.output_dir).absolute())})
    data = config.data.model_copy(update={"root": str(Path(config.data.root).absolute())})
    update: dict[str, object] = {"run": run, "data": data}
    if isinstance(config, AlignConfig):
        update["language_model"] = str(Path(config.language_model).absolute())
        weights = Path(config.vision.weights)
        if weights.exists():
            update["vision"] = config.vision.model_copy(update={"weights": str(weights.absolute())})
    if isinstance(config, InstructConfig):
        update["checkpoint"] = str(Path(config.checkpoint).absolute())
    return config.model_copy(update=update)
