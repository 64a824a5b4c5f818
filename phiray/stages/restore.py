"""From a checkpoint's path to its model: for the next stage, for evaluation and for answers.

Source: the checkpoint carries its settings, its tokenizer and how to build its model (DESIGN 2).
Limits: the model comes back on the CPU, in evaluation mode.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from phiray.checkpoints.read import Checkpoint, read_checkpoint
from phiray.config.load import config_from_yaml
from phiray.config.model import MODEL_FILE, ModelDescription
from phiray.config.stages import AnyStageConfig
from phiray.data.signed_images import SignedImages
from phiray.models.build import VISION_PREFIX, AnyModel, build_from_state, build_tower
from phiray.models.convert import phi_from_litgpt
from phiray.models.interface import FeatureTower
from phiray.models.litgpt_phi import LitgptPhi
from phiray.models.phi import Phi
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.parts import (
    CONFIG_FILE,
    LEDGER_FILE,
    TOKENIZER_SETTINGS_FILE,
    TRAINED_IMAGES_FILE,
    Ledger,
)
from phiray.text.tokenizer import TOKENIZER_FILE, Tokenizer


@dataclass(frozen=True)
class ModelOutline:
    """How a trained model is built, and the tokenizer that its ids belong to."""

    description: ModelDescription
    tokenizer: Tokenizer


@dataclass(frozen=True)
class LoadedModel:
    """A trained model with everything that its checkpoint knows of it."""

    model: AnyModel
    tokenizer: Tokenizer
    config: AnyStageConfig
    description: ModelDescription
    state: dict[str, object]
    ledger: Ledger
    checkpoint_path: Path
    trained_images: SignedImages | None = None
    """None of what carries no signatures."""


def load_model(path: str | Path) -> LoadedModel:
    """Load the model of a run (its newest verified checkpoint) or of one checkpoint.

    Raises:
        CheckpointError: 66 if there is none at `path`, 65 if a file does not match its hash.
        ConfigError: if its settings are not those that this version of phiray knows.
    """
    checkpoint = read_checkpoint(Path(path))
    outline = _outline(checkpoint)
    model = build_from_state(outline.description, checkpoint.read_tensors())
    model.eval()
    signed = checkpoint.texts.get(TRAINED_IMAGES_FILE)
    return LoadedModel(
        model=model,
        tokenizer=outline.tokenizer,
        config=config_from_yaml(
            checkpoint.texts[CONFIG_FILE], origin=str(checkpoint.path / CONFIG_FILE)
        ),
        description=outline.description,
        state=checkpoint.state,
        ledger=json.loads(checkpoint.texts[LEDGER_FILE]),
        checkpoint_path=checkpoint.path,
        trained_images=SignedImages.from_json(signed) if signed is not None else None,
    )


def load_tower(path: str | Path) -> FeatureTower:
    """Load the frozen tower of a run or checkpoint of a vision-language model, and no more.

    Raises:
        CheckpointError: 66 if there is none at `path`, 65 if a file does not match its hash.
    """
    checkpoint = read_checkpoint(Path(path))
    tensors = checkpoint.read_tensors(below=VISION_PREFIX)
    return build_tower(_outline(checkpoint).description, tensors)


def generating_model(loaded: LoadedModel) -> Phi | VisionLanguageModel:
    """Return the model in a form that decodes with a cache: LitGPT's becomes our Phi."""
    if not isinstance(loaded.model, LitgptPhi):
        return loaded.model
    model = Phi(loaded.description.language_model)
    model.load_state_dict(phi_from_litgpt(loaded.model.state_dict()))
    return model.eval()


def read_outline(path: str | Path) -> ModelOutline:
    """Read what a run or checkpoint says of its model, and no weight.

    Raises:
        CheckpointError: 66 if there is none at `path`, 65 if a file does not match its hash.
    """
    return _outline(read_checkpoint(Path(path)))


def _outline(checkpoint: Checkpoint) -> ModelOutline:
    eos_token = json.loads(checkpoint.texts[TOKENIZER_SETTINGS_FILE])["eos_token"]
    return ModelOutline(
        ModelDescription.model_validate_json(checkpoint.texts[MODEL_FILE]),
        Tokenizer(checkpoint.texts[TOKENIZER_FILE], eos_token=eos_token),
    )
