"""What the paths in the settings name: read from JSON where it is there, assumed where it is not.

Source: `config.json` of transformers, `model.json` of phiray's checkpoints, open_clip's own files
of model configs, `open_clip_config.json` of its folders.
Limits: sizes only; no hash is checked, and no weight is looked at.
"""

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pydantic import JsonValue, ValidationError

from phiray.config.model import (
    MODEL_FILE,
    ModelDescription,
    PhiConfig,
    ProjectorConfig,
    VisionConfig,
)
from phiray.config.presets import TINY_TOWER_EMBED_DIM, TINY_TOWER_LAYERS, preset
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig, ScratchConfig
from phiray.errors import CheckpointError, ConfigError
from phiray.models.phi_sizes import is_phi_folder, read_phi_sizes
from phiray.planning.parameters import Tower

_MLP_RATIO = 4.0
"""Of open_clip's CLIPVisionCfg, where a model does not name it."""

ModelCfg = dict[str, JsonValue]
"""open_clip's own config of a model."""


@dataclass(frozen=True)
class GivenModel:
    """The sizes of all parts that a stage runs."""

    language_model: PhiConfig
    vision: VisionConfig | None = None
    projector: ProjectorConfig | None = None
    tower: Tower | None = None
    assumptions: tuple[str, ...] = ()
    """What was not there, and what stands in for it."""


def find_given_model(config: AnyStageConfig, *, stand_in: str) -> GivenModel:
    """Find the sizes of a stage's model.

    Args:
        config: of the stage.
        stand_in: the preset whose models stand in for those that are not there yet.

    Raises:
        CheckpointError: if a file is there but cannot be read.
        ConfigError: if the tower is unknown, or the checkpoint has none.
    """
    match config:
        case AlignConfig():
            language_model, notes = _language_model(
                Path(config.language_model).expanduser(), stand_in
            )
            return _add_tower(language_model, config.vision, config.projector, notes=notes)
        case InstructConfig():
            return _aligned_model(Path(config.checkpoint).expanduser(), stand_in)
        case _:
            return GivenModel(config.model)


def describe_model(description: ModelDescription) -> GivenModel:
    """Return the sizes that a checkpoint's description names."""
    if description.vision is None or description.projector is None:
        return GivenModel(description.language_model)
    return _add_tower(
        description.language_model,
        description.vision,
        description.projector,
        model_cfg=description.vision_model,
    )


def _language_model(path: Path, stand_in: str) -> tuple[PhiConfig, list[str]]:
    if is_phi_folder(path):
        return read_phi_sizes(path), []
    description = _read_description(path)
    if description is not None:
        return description.language_model, []
    what = "microsoft/phi-2" if stand_in == "phi-2" else f"`scratch` of the preset {stand_in}"
    return _stand_in_language_model(stand_in), [_absence("language_model", path, what)]


def _stand_in_language_model(stand_in: str) -> PhiConfig:
    if stand_in == "phi-2":
        return PhiConfig()
    scratch = preset(stand_in, "scratch")
    assert isinstance(scratch, ScratchConfig)
    return scratch.model


def _aligned_model(path: Path, stand_in: str) -> GivenModel:
    description = _read_description(path)
    if description is None:
        align = preset(stand_in, "align")
        assert isinstance(align, AlignConfig)
        note = _absence("checkpoint", path, f"`align` of the preset {stand_in}")
        language_model = _stand_in_language_model(stand_in)
        return _add_tower(language_model, align.vision, align.projector, notes=[note])
    if description.vision is None or description.projector is None:
        raise ConfigError(
            f"checkpoint is {path}, which holds a language model without eyes. It must be a run or "
            "checkpoint of `align`. Train that first."
        )
    return describe_model(description)


def _read_description(path: Path) -> ModelDescription | None:
    """Read the description of a checkpoint, or of the newest one of a run; none without any."""
    newest_first = sorted(path.glob(f"checkpoints/step-*/{MODEL_FILE}"), reverse=True)
    file = next((file for file in (path / MODEL_FILE, *newest_first) if file.is_file()), None)
    if file is None:
        return None
    try:
        return ModelDescription.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise CheckpointError(
            f"{file} is no description of a model that this version of phiray knows: {error}. "
            "Give another checkpoint."
        ) from error


def _absence(setting: str, path: Path, what: str) -> str:
    return f"{setting} {path} is not there yet; {what} stands in for it"


def _add_tower(
    language_model: PhiConfig,
    vision: VisionConfig,
    projector: ProjectorConfig,
    *,
    model_cfg: ModelCfg | None = None,
    notes: list[str] | None = None,
) -> GivenModel:
    found = model_cfg or _read_model_cfg(vision)
    if found is None:
        found = {"embed_dim": TINY_TOWER_EMBED_DIM, "vision_cfg": {"layers": TINY_TOWER_LAYERS}}
        note = _absence("vision.weights", Path(vision.weights), "a tower as deep as that of tiny")
        notes = [*(notes or []), note]
    return GivenModel(
        language_model,
        vision=vision,
        projector=projector,
        tower=_tower(vision, found),
        assumptions=tuple(notes or []),
    )


def _read_model_cfg(vision: VisionConfig) -> ModelCfg | None:
    """Read open_clip's config of the tower; none if its folder is not there yet."""
    if vision.model != "custom":
        return _read_json(_package_configs() / f"{vision.model}.json", name=vision.model)
    path = Path(vision.weights).expanduser()
    file = (path.parent if path.suffix == ".safetensors" else path) / "open_clip_config.json"
    if not file.is_file():
        return None
    model_cfg = _read_json(file, name=str(file)).get("model_cfg")
    if not isinstance(model_cfg, dict):
        raise CheckpointError(
            f"{file} has no object 'model_cfg'. Expected the config that open_clip writes. Give "
            "the folder of an open_clip model."
        )
    return model_cfg


def _package_configs() -> Path:
    spec = find_spec("open_clip")  # finds the package, and does not import it
    assert spec is not None, "a dependency of phiray"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model_configs"


def _read_json(path: Path, *, name: str) -> ModelCfg:
    if not path.is_file():
        raise ConfigError(
            f"vision.model is {name!r}, which open_clip does not know. Expected one of its model "
            "names, such as ViT-B-32-quickgelu, or 'custom' with a folder. Correct it."
        )
    try:
        content: ModelCfg = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}). Fetch it again.") from error
    return content


def _tower(vision: VisionConfig, model_cfg: ModelCfg) -> Tower:
    sizes, embed_dim = model_cfg.get("vision_cfg"), model_cfg.get("embed_dim")
    layers = sizes.get("layers", 12) if isinstance(sizes, dict) else None
    if not (isinstance(sizes, dict) and isinstance(layers, int) and isinstance(embed_dim, int)):
        raise ConfigError(
            f"vision.model is {vision.model}, which is no plain ViT. Expected one. Take a ViT-* "
            "model."
        )
    ratio = sizes.get("mlp_ratio", _MLP_RATIO)
    assert isinstance(ratio, int | float)
    return Tower(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        hidden_size=vision.hidden_size,
        num_hidden_layers=layers,
        intermediate_size=int(vision.hidden_size * ratio),
        embed_dim=embed_dim,
    )
