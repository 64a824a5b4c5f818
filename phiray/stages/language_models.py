"""The frozen language model of `align`, from whichever of three places it comes.

Source: a phiray run of `scratch` or `litgpt`, or a Hugging Face folder of Phi (e.g. a download of
microsoft/phi-2). All three become our Phi: their logits agree to 1e-5 (tests/parity).
Limits: Hugging Face folders must hold safetensors; pickled weights are not read.
"""

from dataclasses import dataclass
from pathlib import Path

from phiray.config.model import PhiConfig
from phiray.errors import CheckpointError, ConfigError
from phiray.models.convert import phi_from_litgpt
from phiray.models.litgpt_phi import LitgptPhi
from phiray.models.phi import Phi
from phiray.models.phi_folder import read_phi_folder
from phiray.stages.parts import Ledger, check_same_tokenizer
from phiray.stages.restore import load_model
from phiray.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """A language model, its architecture, and the ids it was trained on."""

    model: Phi
    config: PhiConfig
    ledger: Ledger


def load_language_model(path: str, *, tokenizer: Tokenizer) -> LanguageModel:
    """Load the language model at `path` as our Phi.

    Args:
        path: a run, a checkpoint, or a Hugging Face folder with `config.json`.
        tokenizer: that of the data; a phiray checkpoint must have been trained with the same.

    Raises:
        CheckpointError: if there is nothing to load, or the folder lacks weights of Phi.
        ConfigError: if the tokenizers differ, or the checkpoint is no language model.
    """
    if (Path(path) / "config.json").is_file():
        return _load_hugging_face(Path(path))
    loaded = load_model(path)
    check_same_tokenizer(tokenizer, loaded.tokenizer, setting=f"language_model {path}")
    if isinstance(loaded.model, LitgptPhi):
        model = Phi(loaded.description.language_model)
        model.load_state_dict(phi_from_litgpt(loaded.model.state_dict()))
    elif isinstance(loaded.model, Phi):
        model = loaded.model
    else:
        raise ConfigError(
            f"language_model is {path}, which already is a vision-language model. It must be an "
            "outcome of `scratch` or `litgpt`, or a Hugging Face folder of Phi."
        )
    config = loaded.description.language_model
    return LanguageModel(model=model.eval(), config=config, ledger=loaded.ledger)


def _load_hugging_face(folder: Path) -> LanguageModel:
    config, tensors = read_phi_folder(folder)
    model = Phi(config)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"language_model {folder} does not hold the weights that its config.json describes: "
            f"{error}. Expected what PhiForCausalLM.save_pretrained writes. Fetch it again."
        ) from error
    return LanguageModel(model=model.eval(), config=config, ledger={})
