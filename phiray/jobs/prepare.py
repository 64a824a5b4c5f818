"""Do once, before any worker starts, what a stage needs: tokenised rows, read annotations.

Limits: runs in the calling process.
"""

from phiray.config.stages import AnyStageConfig
from phiray.stages.registry import stage_module
from phiray.types import Progress


def prepare_stage(config: AnyStageConfig, *, progress: Progress | None = None) -> dict[str, int]:
    """Prepare the stage's data.

    Returns:
        Counts of what there is and of what could not be used, by reason.

    Raises:
        DataError: 66 if data is missing, 65 if too much of it is broken.
    """
    return stage_module(config.stage).prepare(config, progress=progress)
