"""Read a Hugging Face folder of Phi: config.json and safetensors.

Source: microsoft/phi-2 and transformers 5.3's PhiConfig (rotary settings in `rope_parameters`, or
beside it in older files).
Limits: model type `phi` with Phi-2's choices; no pickled weights.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from phiray.config.model import PhiConfig
from phiray.errors import CheckpointError, ExitCode

# What Phi-2 has, and what the folder must therefore say or leave out.
_FIXED: dict[str, object] = {
    "model_type": "phi",
    "hidden_act": "gelu_new",
    "qk_layernorm": False,
    "tie_word_embeddings": False,
}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "layer_norm_eps",
    "initializer_range",
)
_ROTARY = ("partial_rotary_factor", "rope_theta")


def is_phi_folder(folder: Path) -> bool:
    """Say whether transformers saved a model there; a run of phiray's has no such file."""
    return (folder / "config.json").is_file()


def read_phi_config(folder: Path) -> PhiConfig:
    """Read the config of a Phi that transformers saved, and see that its weights are there.

    Args:
        folder: with `config.json`, and `model.safetensors` or its index and shards.

    Raises:
        CheckpointError: if a file is missing (66), or of another architecture.
    """
    # Any: JSON of a foreign tool; every value is checked by PhiConfig.
    raw: dict[str, Any] = _read_json(folder / "config.json")
    for key, expected in _FIXED.items():
        if raw.get(key, expected) != expected:
            raise CheckpointError(
                f"{folder / 'config.json'}: {key} is {raw[key]!r}. Expected {expected!r}, as in "
                "Phi-2. Give a folder of microsoft/phi-2 or of a model of its architecture."
            )
    _weight_files(folder)
    return _parse_config(raw, folder)


def read_phi_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a Phi that transformers saved.

    Returns:
        Tensors by the names of `Phi.state_dict()`.

    Raises:
        CheckpointError: if a file is missing (66) or broken.
    """
    tensors: dict[str, Tensor] = {}
    for path in _weight_files(folder):
        try:
            tensors |= load_file(path)
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a whole safetensors file ({error}). Fetch it again."
            ) from error
    return tensors


def _parse_config(raw: dict[str, Any], folder: Path) -> PhiConfig:
    rotary = raw | (raw.get("rope_parameters") or {})
    values = {key: raw[key] for key in _SIZES if key in raw}
    values |= {key: float(rotary[key]) for key in _ROTARY if key in rotary}
    heads, kv_heads = raw.get("num_attention_heads"), raw.get("num_key_value_heads")
    scaling = rotary.get("rope_type", "default")
    if kv_heads not in (None, heads) or scaling != "default" or raw.get("rope_scaling"):
        raise CheckpointError(
            f"{folder / 'config.json'}: num_key_value_heads={kv_heads}, rope_type={scaling!r}. "
            f"Expected {heads} and 'default', as in Phi-2. Give a model of that architecture."
        )
    try:
        return PhiConfig(**values)
    except ValidationError as error:
        raise CheckpointError(f"{folder / 'config.json'} is no config of Phi: {error}") from error


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = sorted(set(_read_json(index)["weight_map"].values()))
    files = [folder / Path(name).name for name in names]  # no shard can stand outside its folder
    for path in files:
        if not path.is_file():
            raise _missing_error(path)
    return files


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _missing_error(path)
    try:
        # Any: JSON of a foreign tool.
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}). Fetch it again.") from error
    return content


def _missing_error(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is missing. Expected a Hugging Face folder of Phi with config.json and "
        "model.safetensors. Give another folder, or fetch the file.",
        exit_code=ExitCode.MISSING_INPUT,
    )
