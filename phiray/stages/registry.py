"""From a stage's name to its file, loading only the one that runs.

Limits: one of the two places with imports inside functions: a worker should not pay seconds for
open_clip and litgpt when its stage uses neither.
"""

from importlib import import_module
from typing import Protocol, cast

from phiray.config.stages import AnyStageConfig
from phiray.stages.parts import StageParts
from phiray.types import Progress


class StageModule(Protocol):
    """What each stage file offers."""

    def prepare(
        self, config: AnyStageConfig, *, progress: Progress | None = None
    ) -> dict[str, int]:
        """Do once what need not be done by each worker; return counts for the run's record."""

    def build(self, config: AnyStageConfig) -> StageParts:
        """Build rows, model and loss."""


def stage_module(name: str) -> StageModule:
    """Import the file of the stage `name`, which a validated config has already checked."""
    # A module satisfies the protocol structurally, which import_module's type cannot say.
    return cast(StageModule, import_module(f"phiray.stages.{name}"))
