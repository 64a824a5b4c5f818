from collections.abc import Callable
from pathlib import Path

import pytest

from phiray.config.data import ImageDataConfig, TextDataConfig
from phiray.config.stages import AnyStageConfig
from phiray.config.training import TrainingConfig
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows, conversation_rows
from phiray.data.prepare.text import prepare_text
from phiray.data.text_rows import heldout_documents
from phiray.errors import DataError
from phiray.models.interface import as_token_model
from phiray.stages.parts import StageParts
from phiray.stages.registry import stage_module
from phiray.stages.validation import build_validation, check_bad_rows
from phiray.training.collective import Collective
from phiray.training.loop import Validate
from phiray.types import BadRow
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


def validate_with(parts: StageParts, training: TrainingConfig) -> Validate | None:
    return build_validation(
        parts,
        training,
        most_workers=1,
        max_bad_fraction=0.0,
        device=CPU,
        collective=Collective(),
    )


def test_every_stage_measures_rows_that_it_does_not_train_on(config: AnyStageConfig) -> None:
    config = with_validation(config, 0.4)
    parts = stage_module(config.stage).build(config)
    assert parts.validation is not None
    without = stage_module(config.stage).build(with_validation(config, 0.0))
    assert parts.source.num_rows < without.source.num_rows
    training = config.training.model_copy(update={"max_validation_rows": 3})
    validate = validate_with(parts, training)
    assert validate is not None
    model = as_token_model(parts.model)
    assert 0 < validate(model) == validate(model)


@pytest.mark.parametrize("stage", ["align", "instruct"])
def test_train_validation_and_heldout_images_are_apart(
    stage: str, world: Path, tmp_path: Path, clip: Path, align: Trained, scratch: Trained
) -> None:
    kind = caption_rows if stage == "align" else conversation_rows
    base = (
        align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir)
        if stage == "align"
        else instruct_config(world, tmp_path, checkpoint=align.run_dir)
    )
    config = with_validation(base, 0.4)
    parts = stage_module(stage).build(config)
    assert isinstance(parts.source, ImageRows)
    assert isinstance(parts.validation, ImageRows)
    assert isinstance(config.data, ImageDataConfig)
    trained, measured = set(parts.source.image_ids), set(parts.validation.image_ids)
    heldout = set(kind(config.data, num_patches=16, seed=0, part="heldout").image_ids)
    assert trained
    assert measured
    assert heldout
    assert not trained & measured
    assert not heldout & (trained | measured)
    assert set(parts.ledger["image"]) >= trained
    assert not set(parts.ledger["image"]) & heldout


@pytest.mark.parametrize("stage", ["scratch", "litgpt"])
def test_train_validation_and_heldout_documents_are_apart(
    stage: str, world: Path, tmp_path: Path
) -> None:
    build = scratch_config if stage == "scratch" else litgpt_config
    data = with_validation(build(world, tmp_path), 0.4).data
    assert isinstance(data, TextDataConfig)
    trained = set(prepare_text(data).document_keys())
    measured = set(prepare_text(data, part="validation").document_keys())
    assert trained
    assert measured
    assert not trained & measured
    heldout = {document.key for document in heldout_documents(data)}
    assert heldout
    assert not heldout & (trained | measured)


def test_bad_rows_beyond_the_share_are_told_of(world: Path, tmp_path: Path) -> None:
    bad = [BadRow(row, "broken", f"picture {row}") for row in (3, 4)]
    check_bad_rows(bad, num_rows=10, max_bad_fraction=0.2)
    with pytest.raises(DataError, match=r"2 of 10 rows of the validation part .*2 broken.*picture"):
        check_bad_rows(bad, num_rows=10, max_bad_fraction=0.1)


def test_no_part_for_validation_measures_nothing(config: AnyStageConfig) -> None:
    parts = stage_module(config.stage).build(config)
    assert parts.validation is None
    assert validate_with(parts, config.training) is None
