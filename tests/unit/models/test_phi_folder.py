import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from phiray.errors import CheckpointError, ExitCode
from phiray.models.phi_folder import read_phi_config, read_phi_weights
from tests.model_builders import tiny_phi

# microsoft/phi-2's own file, without the keys that only matter to transformers.
PHI_2 = {
    "model_type": "phi",
    "hidden_act": "gelu_new",
    "hidden_size": 2560,
    "initializer_range": 0.02,
    "intermediate_size": 10240,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": 0.4,
    "qk_layernorm": False,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 51200,
}


def _write(folder: Path, **changes: object) -> None:
    (folder / "config.json").write_text(json.dumps(PHI_2 | changes))
    save_file(tiny_phi().state_dict(), folder / "model.safetensors")


def test_config_of_phi_2_is_read(tmp_path: Path) -> None:
    _write(tmp_path)
    config, tensors = read_phi_config(tmp_path), read_phi_weights(tmp_path)
    assert (config.hidden_size, config.head_dim, config.rotary_dim) == (2560, 80, 32)
    assert (config.vocab_size, config.num_hidden_layers, config.moe) == (51200, 32, None)
    assert torch.equal(tensors["lm_head.bias"], tiny_phi().lm_head.bias)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "model_type is 'llama'. Expected 'phi'"),
        ({"qk_layernorm": True}, "qk_layernorm is True. Expected False"),
        ({"num_key_value_heads": 8}, "num_key_value_heads=8"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type"),
        ({"hidden_size": 2561}, "is no config of Phi"),
    ],
)
def test_other_architectures_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    _write(tmp_path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_phi_config(tmp_path)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_missing_folder_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing") as caught:
        read_phi_config(tmp_path / "nowhere")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_missing_weights_are_missing_input(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing") as caught:
        read_phi_config(tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_cut_off_weights_are_refused(tmp_path: Path) -> None:
    _write(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_phi_weights(tmp_path)
