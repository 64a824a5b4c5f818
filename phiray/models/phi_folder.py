"""Read a Hugging Face folder of Phi: config.json and safetensors.

Source: what PhiForCausalLM.save_pretrained of transformers writes.
Limits: no pickled weights.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from phiray.config.model import PhiConfig
from phiray.errors import CheckpointError
from phiray.models.phi_sizes import missing_file_error, read_json_of_phi, read_phi_sizes


def read_phi_config(folder: Path) -> PhiConfig:
    """Read the config of a Phi that transformers saved, and see that its weights are there.

    Args:
        folder: with `config.json`, and `model.safetensors` or its index and shards.

    Raises:
        CheckpointError: if a file is missing (66), or of another architecture.
    """
    config = read_phi_sizes(folder)
    _weight_files(folder)
    return config


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


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        names = sorted(set(read_json_of_phi(index)["weight_map"].values()))
    files = [folder / Path(name).name for name in names]  # no shard can stand outside its folder
    for path in files:
        if not path.is_file():
            raise missing_file_error(path)
    return files
