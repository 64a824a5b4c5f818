import pytest

from phiray.errors import ConfigError
from phiray.models.freezing import freeze_for_stage, trainable_names
from tests.model_builders import tiny_phi, tiny_vlm


def test_align_trains_the_projector_alone() -> None:
    model = tiny_vlm()
    freeze_for_stage(model, "align")
    expected = [f"projector.{name}" for name, _ in model.projector.named_parameters()]
    assert trainable_names(model) == expected


def test_instruct_trains_all_but_the_tower() -> None:
    model = tiny_vlm()
    freeze_for_stage(model, "align")
    freeze_for_stage(model, "instruct")
    frozen = {name for name, _ in model.named_parameters()} - set(trainable_names(model))
    assert frozen == {"vision.scale"}


@pytest.mark.parametrize("stage", ["scratch", "litgpt"])
def test_language_model_stages_train_everything(stage: str) -> None:
    model = tiny_phi()
    freeze_for_stage(model, stage)
    assert trainable_names(model) == [name for name, _ in model.named_parameters()]


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"stage is 'pretrain'\. Expected one of scratch"):
        freeze_for_stage(tiny_phi(), "pretrain")


def test_stage_that_would_train_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no such part"):
        freeze_for_stage(tiny_phi(), "align")
