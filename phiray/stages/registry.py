"""From a stage's name to its file, loading only the one that runs.

Source: DESIGN 3, with the measured time of each late import.
Limits: one of the two places with imports inside functions: a worker should not pay seconds for
open_clip and litgpt when its stage uses neither.
"""

from importlib import import_module
from typing import Protocol, cast

from phiray.config.stages import AnyStageConfig
from phiray.stages.parts import PreparedData, StageParts
from phiray.types import Progress


class StageModule(Protocol):
    """What each stage file offers."""

    def prepare(self, config: AnyStageConfig, *, progress: Progress | None = None) -> PreparedData:
        """Do once what need not be done by each worker, and say all that is wrong with inputs.

        Raises:
            DataError: 66 if data is missing, 65 if too much of it is broken.
            CheckpointError: 66 if a model is missing, 65 if it is broken.
            ConfigError: if model and data do not fit.
        """

    def build(self, config: AnyStageConfig) -> StageParts:
        """Build rows, model and loss."""


def stage_module(name: str) -> StageModule:
    """Import the file of the stage `name`, which a validated config has already checked."""
    # A module satisfies the protocol structurally, which import_module's type cannot say.
    return cast(StageModule, import_module(f"phiray.stages.{name}"))
