from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from phiray.errors import CheckpointError, ConfigError, ExitCode
from phiray.models.interface import TokenModel
from phiray.stages.language_models import load_language_model, read_language_config
from phiray.text.tokenizer import Tokenizer
from tests.model_builders import all_logits, assert_near
from tests.stage_builders import VOCAB, Trained

IDS = torch.arange(24).view(2, 12) * 7 % VOCAB


def hugging_face(folder: Path, *, vocab_size: int = VOCAB) -> transformers.PhiForCausalLM:
    """Save a small random Phi as transformers does."""
    config = transformers.PhiConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=96,
        partial_rotary_factor=0.5,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        model = transformers.PhiForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def logits(model: TokenModel) -> torch.Tensor:
    return all_logits(model, IDS)


def test_outcome_of_scratch_is_the_same_phi(scratch: Trained) -> None:
    loaded = load_language_model(str(scratch.run_dir))
    assert loaded.config == scratch.parts.description.language_model
    assert loaded.ledger == scratch.parts.ledger
    assert torch.equal(logits(loaded.model), logits(scratch.parts.objective.token_model))


def test_outcome_of_litgpt_becomes_our_phi(litgpt: Trained) -> None:
    loaded = load_language_model(str(litgpt.run_dir))
    assert loaded.ledger == litgpt.parts.ledger
    assert_near(logits(loaded.model), logits(litgpt.parts.objective.token_model))


def test_hugging_face_folder_gives_the_logits_of_transformers(
    scratch: Trained, tmp_path: Path
) -> None:
    other = hugging_face(tmp_path)
    loaded = load_language_model(str(tmp_path))
    with torch.no_grad():
        expected = other(IDS).logits
    assert loaded.ledger == {}
    assert_near(logits(loaded.model), expected)


def test_hugging_face_folder_without_a_head_is_refused(scratch: Trained, tmp_path: Path) -> None:
    hugging_face(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {name: t for name, t in load_file(file).items() if name != "lm_head.weight"}
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"does not hold the weights[\s\S]*lm_head\.weight"):
        load_language_model(str(tmp_path))


def test_another_tokenizer_is_refused(scratch: Trained) -> None:
    content = scratch.parts.tokenizer.content
    other = Tokenizer(content.replace("<|endoftext|>", "<|end|>"), eos_token="<|end|>")
    match = "scratch was trained with another tokenizer than data.tokenizer"
    with pytest.raises(ConfigError, match=match):
        read_language_config(str(scratch.run_dir), tokenizer=other)


def test_vision_language_model_is_refused(align: Trained) -> None:
    with pytest.raises(ConfigError, match="already is a vision-language model"):
        read_language_config(str(align.run_dir), tokenizer=align.parts.tokenizer)


def test_missing_folder_is_missing_input(scratch: Trained, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere is not a folder") as caught:
        read_language_config(str(tmp_path / "nowhere"), tokenizer=scratch.parts.tokenizer)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
