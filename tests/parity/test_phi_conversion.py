"""Our conversion gives what litgpt's own scripts give, and a saved folder is read back."""

from collections import defaultdict
from pathlib import Path

import torch
from litgpt import Config
from litgpt.scripts import convert_hf_checkpoint, convert_lit_checkpoint
from torch import Tensor
from transformers import PhiConfig as HuggingFaceConfig
from transformers import PhiForCausalLM

from phiray.models.convert import GPT_PREFIX, litgpt_from_phi, phi_from_litgpt
from phiray.models.phi import Phi
from phiray.models.phi_folder import read_phi_config, read_phi_weights
from tests.model_builders import random_ids, tiny_phi


def _assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert set(first) == set(second)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, second[name], rtol=0, atol=0)


def test_litgpt_names_equal_litgpts_own_conversion() -> None:
    tensors = tiny_phi().state_dict()
    expected: dict[str, Tensor] = {}
    config = Config.from_name("phi-2", n_embd=40, n_head=4, n_layer=3)
    convert_hf_checkpoint.copy_weights_phi(config, defaultdict(dict), expected, dict(tensors))
    ours = {name.removeprefix(GPT_PREFIX): t for name, t in litgpt_from_phi(tensors).items()}
    _assert_same(ours, expected)


def test_phi_names_equal_litgpts_own_conversion() -> None:
    tensors = litgpt_from_phi(tiny_phi().state_dict())
    plain = {name.removeprefix(GPT_PREFIX): tensor for name, tensor in tensors.items()}
    expected: dict[str, Tensor] = {}
    config = Config.from_name("phi-2", n_embd=40, n_head=4, n_layer=3)
    convert_lit_checkpoint.copy_weights_phi(config, expected, dict(plain))
    _assert_same(phi_from_litgpt(tensors), expected)


def test_folder_saved_by_transformers_gives_its_logits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = PhiForCausalLM(
        HuggingFaceConfig(
            vocab_size=61,
            hidden_size=32,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=32,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 5_000.0,
                "partial_rotary_factor": 0.5,
            },
        )
    ).eval()
    saved.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()  # shards are read too

    model = Phi(read_phi_config(tmp_path))
    model.load_state_dict(read_phi_weights(tmp_path))

    ids = random_ids(2, 9)
    logits = model.project(model.decode(model.embed(ids)).hidden_states)
    torch.testing.assert_close(logits, saved(ids).logits, rtol=1e-5, atol=1e-5)
