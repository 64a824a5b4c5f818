"""The named settings."""

import pytest

from phiray.config.presets import PRESETS, preset
from phiray.config.stages import AlignConfig, InstructConfig, LitgptConfig, ScratchConfig
from phiray.errors import ConfigError, ExitCode

PHI2_PARAMETERS = 2_779_683_840
"""microsoft/phi-2, counted from its safetensors index."""


@pytest.mark.parametrize("name", PRESETS)
def test_preset_holds_every_stage(name: str) -> None:
    assert isinstance(preset(name, "scratch"), ScratchConfig)
    assert isinstance(preset(name, "litgpt"), LitgptConfig)
    assert isinstance(preset(name, "align"), AlignConfig)
    assert isinstance(preset(name, "instruct"), InstructConfig)


def test_preset_phi_2_has_the_number_of_weights_of_phi_2() -> None:
    config = preset("phi-2", "litgpt")
    assert isinstance(config, LitgptConfig)
    model, hidden = config.model, config.model.hidden_size
    attention = 4 * (hidden * hidden + hidden)
    mlp = 2 * hidden * model.intermediate_size + model.intermediate_size + hidden
    blocks = model.num_hidden_layers * (attention + mlp + 2 * hidden)
    embedding, head = model.vocab_size * hidden, model.vocab_size * (hidden + 1)
    assert blocks + embedding + head + 2 * hidden == PHI2_PARAMETERS
    assert model.rotary_dim == 32


@pytest.mark.parametrize("name", PRESETS)
def test_preset_compares_scratch_and_litgpt_on_equal_terms(name: str) -> None:
    scratch, litgpt = preset(name, "scratch"), preset(name, "litgpt")
    assert scratch.training == litgpt.training
    assert isinstance(scratch, ScratchConfig)
    assert isinstance(litgpt, LitgptConfig)
    assert scratch.model.model_copy(update={"moe": None}) == litgpt.model
    assert scratch.data.sequence_length == litgpt.data.sequence_length


@pytest.mark.parametrize("name", PRESETS)
def test_preset_leaves_room_for_the_image_and_the_longest_row(name: str) -> None:
    align, instruct = preset(name, "align"), preset(name, "instruct")
    language_model = preset(name, "scratch")
    assert isinstance(align, AlignConfig)
    assert isinstance(instruct, InstructConfig)
    assert isinstance(language_model, ScratchConfig)
    longest = max(align.data.max_length, instruct.data.max_length)
    assert align.vision.num_patches < longest <= language_model.model.max_position_embeddings


def test_preset_refuses_an_unknown_name_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"'tinny' is not a preset.*mean tiny\?") as caught:
        preset("tinny", "align")
    assert caught.value.exit_code == ExitCode.USAGE


def test_preset_refuses_an_unknown_stage_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"'scrach' is not a stage.*mean scratch\?"):
        preset("tiny", "scrach")
