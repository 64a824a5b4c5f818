"""Read the sizes of a Phi from a Hugging Face folder's config.json; imports no torch.

Source: microsoft/phi-2 and transformers 5.3's PhiConfig (rotary settings in `rope_parameters`, or
beside it in older files).
Limits: model type `phi` with Phi-2's choices.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from phiray.config.model import PhiConfig
from phiray.errors import CheckpointError, ExitCode

CONFIG_NAME = "config.json"

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
    return (folder / CONFIG_NAME).is_file()


def read_phi_sizes(folder: Path) -> PhiConfig:
    """Read the config of a Phi that transformers saved.

    Raises:
        CheckpointError: if the file is missing (66), or of another architecture.
    """
    path = folder / CONFIG_NAME
    # Any: JSON of a foreign tool; every value is checked by PhiConfig.
    raw: dict[str, Any] = read_json_of_phi(path)
    for key, expected in _FIXED.items():
        if raw.get(key, expected) != expected:
            raise CheckpointError(
                f"{path}: {key} is {raw[key]!r}. Expected {expected!r}, as in Phi-2. Give a folder "
                "of microsoft/phi-2 or of a model of its architecture."
            )
    rotary = raw | (raw.get("rope_parameters") or {})
    values = {key: raw[key] for key in _SIZES if key in raw}
    values |= {key: float(rotary[key]) for key in _ROTARY if key in rotary}
    heads, kv_heads = raw.get("num_attention_heads"), raw.get("num_key_value_heads")
    scaling = rotary.get("rope_type", "default")
    if kv_heads not in (None, heads) or scaling != "default" or raw.get("rope_scaling"):
        raise CheckpointError(
            f"{path}: num_key_value_heads={kv_heads}, rope_type={scaling!r}. Expected {heads} and "
            "'default', as in Phi-2. Give a model of that architecture."
        )
    try:
        return PhiConfig(**values)
    except ValidationError as error:
        raise CheckpointError(f"{path} is no config of Phi: {error}") from error


def read_json_of_phi(path: Path) -> dict[str, Any]:
    """Read one JSON file of such a folder.

    Raises:
        CheckpointError: if it is missing (66) or no JSON.
    """
    if not path.is_file():
        raise missing_file_error(path)
    try:
        # Any: JSON of a foreign tool.
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}). Fetch it again.") from error
    return content


def missing_file_error(path: Path) -> CheckpointError:
    """Say which file of the folder is missing."""
    return CheckpointError(
        f"{path} is missing. Expected a Hugging Face folder of Phi with config.json and "
        "model.safetensors. Give another folder, or fetch the file.",
        exit_code=ExitCode.MISSING_INPUT,
    )
