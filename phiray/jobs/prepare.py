"""Do once, before any worker starts, what a stage needs: tokenised rows, read annotations.

Limits: runs in the calling process.
"""

from phiray.config.stages import AnyStageConfig
from phiray.stages.parts import PreparedData
from phiray.stages.registry import stage_module
from phiray.types import Progress


def prepare_stage(config: AnyStageConfig, *, progress: Progress | None = None) -> PreparedData:
    """Prepare the stage's data, and check it together with the models that the stage starts from.

    Raises:
        DataError: 66 if data is missing, 65 if too much of it is broken.
        CheckpointError: 66 if a model is missing, 65 if it is broken.
        ConfigError: if model and data do not fit.
    """
    return stage_module(config.stage).prepare(config, progress=progress)
