"""Find the config and weights of an open_clip tower: a tag, a file, or a folder.

Source: open_clip 3.3 (`factory.create_model`, and the layout of its folders on the Hub).
Limits: plain ViT towers with OpenAI's pixel mean and deviation.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from phiray.config.model import VisionConfig
from phiray.errors import CheckpointError, ConfigError, ExitCode

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
VISUAL = "visual."
"""Prefix of the tower's tensors in a full CLIP."""

# Any: open_clip's own JSON config, passed back to it as it is.
ModelCfg = dict[str, Any]


@dataclass(frozen=True)
class ClipWeights:
    """A tower's config and tensors, before they become a module."""

    model_cfg: ModelCfg
    """open_clip's config of the whole model: embed_dim, vision_cfg, text_cfg, quick_gelu."""
    tensors: dict[str, Tensor]
    """By their names in the tower (without `visual.`)."""


def read_clip_weights(config: VisionConfig) -> ClipWeights:
    """Read what `vision.model` and `vision.weights` name.

    Raises:
        ConfigError: if the name is unknown to open_clip, or the tower is of another kind.
        CheckpointError: if a file is missing (66) or broken.
    """
    path = Path(config.weights)
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".safetensors":
        if config.model == "custom":
            return _read_folder(path.parent, weights=path)
        return ClipWeights(_known_cfg(config.model), _read_visual(path))
    if config.model == "custom":
        raise _missing_error(path / CONFIG_NAME)
    return _read_tag(config)


def _read_folder(folder: Path, *, weights: Path | None = None) -> ClipWeights:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise _missing_error(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}). Fetch it again.") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_cfg"), dict):
        raise CheckpointError(
            f"{path} has no object 'model_cfg'. Expected the config that open_clip writes. Give "
            "the folder of an open_clip model."
        )
    _check_pixels(content.get("preprocess_cfg") or {}, name=str(path))
    return ClipWeights(content["model_cfg"], _read_visual(weights or folder / WEIGHTS_NAME))


def _read_visual(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise _missing_error(path)
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}). Fetch it again."
        ) from error
    return _visual_tensors(tensors)


def _read_tag(config: VisionConfig) -> ClipWeights:
    model_cfg = _known_cfg(config.model)
    tags = open_clip.list_pretrained_tags_by_model(config.model)
    if config.weights not in tags:
        raise ConfigError(
            f"vision.weights is {config.weights!r}: neither a folder, nor a .safetensors file, nor "
            f"a tag of {config.model} (it has {', '.join(tags) or 'none'}). Correct it."
        )
    tag_cfg = open_clip.get_pretrained_cfg(config.model, config.weights)
    _check_pixels(tag_cfg, name=f"{config.model}/{config.weights}")
    quick = bool(model_cfg.get("quick_gelu", False))
    if bool(tag_cfg.get("quick_gelu", False)) != quick:
        raise ConfigError(
            f"vision.model is {config.model}, with quick_gelu={quick}, but vision.weights "
            f"{config.weights!r} was trained with quick_gelu={not quick}: its features would be "
            "silently wrong. Take the model whose name has (or lacks) '-quickgelu'."
        )
    try:
        with torch.random.fork_rng(devices=[]):
            model = open_clip.create_model(config.model, pretrained=config.weights)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"The weights {config.weights!r} of {config.model} could not be fetched or read "
            f"({error}). Check the network, or give a local folder as vision.weights.",
            exit_code=ExitCode.MISSING_INPUT,
        ) from error
    return ClipWeights(model_cfg, dict(model.visual.state_dict()))


def _known_cfg(name: str) -> ModelCfg:
    model_cfg: ModelCfg | None = None
    if name in open_clip.list_models():
        model_cfg = open_clip.get_model_config(name)
    if model_cfg is None:
        raise ConfigError(
            f"vision.model is {name!r}, which open_clip does not know. Expected one of its model "
            "names, such as ViT-B-32-quickgelu, or 'custom' with a folder. Correct it."
        )
    return model_cfg


def _visual_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(VISUAL): tensor
        for name, tensor in tensors.items()
        if name.startswith(VISUAL)
    }


def _check_pixels(preprocess_cfg: dict[str, Any], *, name: str) -> None:
    expected = {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD}
    for key, values in expected.items():
        found = preprocess_cfg.get(key)
        if found is not None and tuple(found) != values:
            raise ConfigError(
                f"{name} normalises pixels with {key}={found}. Expected OpenAI's {values}: other "
                "towers are not supported. Take a CLIP tower trained with those."
            )


def _missing_error(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is missing. Expected a folder with {CONFIG_NAME} and {WEIGHTS_NAME}, a "
        ".safetensors file, or an open_clip tag. Correct vision.weights.",
        exit_code=ExitCode.MISSING_INPUT,
    )
