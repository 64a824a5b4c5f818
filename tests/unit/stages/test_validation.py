from collections.abc import Callable
from pathlib import Path

import pytest

from phiray.config.stages import AnyStageConfig
from phiray.models.interface import as_token_model
from phiray.stages.registry import stage_module
from phiray.stages.validation import build_validation
from phiray.training.collective import Collective
from tests.stage_builders import (
    CPU,
    Trained,
    align_config,
    instruct_config,
    litgpt_config,
    scratch_config,
)

Build = Callable[[], AnyStageConfig]


@pytest.fixture(params=["scratch", "litgpt", "align", "instruct"])
def config(
    request: pytest.FixtureRequest,
    world: Path,
    tmp_path: Path,
    clip: Path,
    align: Trained,
    scratch: Trained,
) -> AnyStageConfig:
    builds: dict[str, Build] = {
        "scratch": lambda: scratch_config(world, tmp_path),
        "litgpt": lambda: litgpt_config(world, tmp_path),
        "align": lambda: align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir),
        "instruct": lambda: instruct_config(world, tmp_path, checkpoint=align.run_dir),
    }
    return builds[str(request.param)]()


def with_validation(config: AnyStageConfig, fraction: float) -> AnyStageConfig:
    split = config.data.split.model_copy(update={"validation_fraction": fraction})
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data})


def test_every_stage_measures_rows_that_it_does_not_train_on(config: AnyStageConfig) -> None:
    config = with_validation(config, 0.4)
    parts = stage_module(config.stage).build(config)
    assert parts.validation is not None
    without = stage_module(config.stage).build(with_validation(config, 0.0))
    assert parts.source.num_rows < without.source.num_rows
    training = config.training.model_copy(update={"max_validation_rows": 3})
    validate = build_validation(
        parts, training, most_workers=1, device=CPU, collective=Collective()
    )
    assert validate is not None
    model = as_token_model(parts.model)
    assert 0 < validate(model) == validate(model)


def test_no_part_for_validation_measures_nothing(config: AnyStageConfig) -> None:
    parts = stage_module(config.stage).build(config)
    assert parts.validation is None
    assert (
        build_validation(
            parts, config.training, most_workers=1, device=CPU, collective=Collective()
        )
        is None
    )
