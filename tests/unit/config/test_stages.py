"""Settings of each stage."""

import pytest
from pydantic import ValidationError

from phiray.config.data import ImageDataConfig, TextDataConfig
from phiray.config.model import MoeConfig, PhiConfig, VisionConfig
from phiray.config.stages import (
    STAGE_ADAPTER,
    STAGES,
    AlignConfig,
    LitgptConfig,
    RunConfig,
    ScratchConfig,
)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_adapter_picks_the_class_by_the_stage(stage: str) -> None:
    assert STAGE_ADAPTER.validate_python({"stage": stage}).stage == stage


def test_seed_that_torch_cannot_take_is_refused() -> None:
    assert RunConfig(name="a", seed=2**63 - 1).seed == 2**63 - 1
    with pytest.raises(ValidationError, match="less than or equal to 9223372036854775807"):
        RunConfig(name="a", seed=2**63)


def test_litgpt_config_refuses_experts() -> None:
    with pytest.raises(ValidationError, match=r"model\.moe is set, but LitGPT's Phi-2 is dense"):
        LitgptConfig(model=PhiConfig(moe=MoeConfig()))


@pytest.mark.parametrize("stage", [ScratchConfig, LitgptConfig])
def test_text_stages_refuse_rows_longer_than_the_model(
    stage: type[ScratchConfig] | type[LitgptConfig],
) -> None:
    data = TextDataConfig(source="gutenberg", sequence_length=4096)
    with pytest.raises(ValidationError, match=r"data\.sequence_length is 4096, but"):
        stage(data=data)


def test_text_stages_count_the_padding_of_the_longest_row() -> None:
    model = PhiConfig(max_position_embeddings=100)
    ScratchConfig(data=TextDataConfig(source="gutenberg", sequence_length=96), model=model)
    with pytest.raises(ValidationError, match="holds rows of at most 96 tokens"):
        ScratchConfig(data=TextDataConfig(source="gutenberg", sequence_length=97), model=model)


def test_align_refuses_rows_that_an_image_alone_overfills() -> None:
    large = VisionConfig(model="ViT-L-14-336", image_size=336, patch_size=14, hidden_size=1024)
    match = r"data\.max_length is 128, but an image alone takes 576 positions \(vision: image_size"
    with pytest.raises(ValidationError, match=match):
        AlignConfig(vision=large)
    assert AlignConfig(vision=large, data=ImageDataConfig(max_length=577)).vision == large
    pooled = large.model_copy(update={"pooling": 3})  # 8 x 8 of 24 x 24 patches
    assert AlignConfig(vision=pooled, data=ImageDataConfig(max_length=65)).vision == pooled
    with pytest.raises(ValidationError, match=r"takes 64 positions .* pooling 3\)"):
        AlignConfig(vision=pooled, data=ImageDataConfig(max_length=64))


def test_align_refuses_rows_that_have_no_room_for_text() -> None:
    data = ImageDataConfig(max_length=VisionConfig().num_patches)
    with pytest.raises(ValidationError, match="at least one token of text"):
        AlignConfig(data=data)


def test_align_refuses_weights_of_conversations() -> None:
    data = ImageDataConfig(conversations=["a.json"], weights={"a": 2.0})
    with pytest.raises(ValidationError, match=r"data\.weights is set, but weighs files of conv"):
        AlignConfig(data=data)


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a b", "a\n", "a" * 101])
def test_run_config_refuses_names_that_are_no_plain_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name for a folder"):
        RunConfig(name=name)


def test_run_config_refuses_the_names_of_rows_that_every_report_has() -> None:
    with pytest.raises(ValidationError, match="'blank' is the name of a row that every report has"):
        RunConfig(name="blank")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_refuses_bf16_on_a_cpu(stage: str) -> None:
    settings = {"stage": stage, "training": {"precision": "bf16"}}
    with pytest.raises(ValidationError, match=r"but cluster\.use_gpu is false"):
        STAGE_ADAPTER.validate_python(settings)
    on_gpu = STAGE_ADAPTER.validate_python(settings | {"cluster": {"use_gpu": True}})
    assert on_gpu.training.precision == "bf16"


def test_name_that_looks_like_an_attempt_is_refused() -> None:
    with pytest.raises(ValidationError, match="by which jobs of one run are told apart"):
        RunConfig(name="x.attempt-2")


def test_runs_are_written_to_no_url() -> None:
    """As a path it would be a folder `s3:` wherever the command is given."""
    with pytest.raises(ValidationError, match=r"'s3://bucket/runs' is a URL\. Runs are written"):
        RunConfig(name="a", output_dir="s3://bucket/runs")
