import pytest

from phiray.errors import ConfigError
from phiray.models.litgpt_gpt import build_gpt
from tests.model_builders import moe_config, phi_config


def test_experts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.moe is set, but LitGPT's Phi-2 is dense"):
        build_gpt(phi_config(moe_config()))


def test_sizes_are_those_of_the_config() -> None:
    config = phi_config().model_copy(update={"layer_norm_eps": 3e-5})
    gpt = build_gpt(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in gpt.state_dict().items()}
    assert shapes["transformer.wte.weight"] == (61, 40)
    assert shapes["transformer.h.2.mlp.fc.weight"] == (48, 40)
    assert "transformer.h.3.mlp.fc.weight" not in shapes
    assert gpt.get_submodule("transformer.ln_f").eps == 3e-5
