"""The frozen language model of `align`, from whichever of three places it comes.

Source: a phiray run of `scratch` or `litgpt`, or a Hugging Face folder of Phi (e.g. a download of
microsoft/phi-2). All three become our Phi: their logits agree to 1e-5 (tests/parity).
Limits: Hugging Face folders must hold safetensors; pickled weights are not read.
"""

from dataclasses import dataclass
from pathlib import Path

from phiray.config.model import PhiConfig
from phiray.errors import CheckpointError, ConfigError
from phiray.models.phi import Phi
from phiray.models.phi_folder import read_phi_config, read_phi_weights
from phiray.models.phi_sizes import is_phi_folder
from phiray.stages.given_model import check_same_tokenizer
from phiray.stages.parts import Ledger
from phiray.stages.restore import generating_model, load_model, read_outline
from phiray.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A language model, its architecture, and the ids it was trained on."""

    model: Phi
    config: PhiConfig
    ledger: Ledger


def read_language_config(path: str, *, tokenizer: Tokenizer) -> PhiConfig:
    """Read the architecture of the language model at `path`, and no weight.

    Args:
        path: a run, a checkpoint, or a Hugging Face folder with `config.json`.
        tokenizer: that of the data; a phiray checkpoint must have been trained with the same.

    Raises:
        CheckpointError: if there is nothing to load.
        ConfigError: if the tokenizers differ, or the checkpoint is no language model.
    """
    if is_phi_folder(Path(path)):
        return read_phi_config(Path(path))
    outline = read_outline(path)
    check_same_tokenizer(tokenizer, outline.tokenizer, setting=f"language_model {path}")
    if outline.description.kind == "vision-language":
        raise ConfigError(
            f"language_model is {path}, which already is a vision-language model. It must be an "
            "outcome of `scratch` or `litgpt`, or a Hugging Face folder of Phi."
        )
    return outline.description.language_model


def load_language_model(path: str) -> LanguageModel:
    """Load the language model at `path` as our Phi.

    Raises:
        CheckpointError: if there is nothing to load, or the folder lacks weights of Phi.
    """
    if is_phi_folder(Path(path)):
        return _load_hugging_face(Path(path))
    loaded = load_model(path)
    config = loaded.description.language_model
    model = generating_model(loaded)
    assert isinstance(model, Phi), "read_language_config refuses other models"
    return LanguageModel(model=model, config=config, ledger=loaded.ledger)


def _load_hugging_face(folder: Path) -> LanguageModel:
    config = read_phi_config(folder)
    model = Phi(config)
    try:
        model.load_state_dict(read_phi_weights(folder))
    except RuntimeError as error:
        raise CheckpointError(
            f"language_model {folder} does not hold the weights that its config.json describes: "
            f"{error}. Expected what PhiForCausalLM.save_pretrained writes. Fetch it again."
        ) from error
    return LanguageModel(model=model.eval(), config=config, ledger={})
