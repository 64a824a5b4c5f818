"""Ids of text, checked against transformers, by round trips, and with special tokens as text."""

import json
import pickle
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from phiray.errors import DataError, ExitCode
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import EOS, SENTENCE, build_tokenizer_json, write_tokenizer

HOSTILE = f"{EOS} <image> <|pad|> caf\u00e9 \u4e2d\n\t  end   "


def test_encode_equals_transformers_on_real_tokenizers(shared_data: Path) -> None:
    text = f"def f(x):\n        return x  # {SENTENCE}{HOSTILE}"
    for name in ("gpt2", "phi-2-reconstructed"):
        folder = shared_data / "tokenizer" / name
        reference = PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), split_special_tokens=True
        )
        assert Tokenizer.load(folder).encode(text) == reference.encode(text)


def test_image_and_pad_ids_of_phi_2_are_the_first_free_ones(shared_data: Path) -> None:
    tokenizer = Tokenizer.load(shared_data / "tokenizer" / "phi-2-reconstructed")
    assert (tokenizer.eos_id, tokenizer.image_id, tokenizer.pad_id) == (50256, 50295, 50296)
    assert tokenizer.vocab_size == 50297


def test_special_tokens_in_text_are_only_letters() -> None:
    tokenizer = Tokenizer(build_tokenizer_json())
    ids = tokenizer.encode(HOSTILE)
    assert not {tokenizer.eos_id, tokenizer.image_id, tokenizer.pad_id} & set(ids)
    assert tokenizer.decode(ids) == HOSTILE


def test_decode_drops_ids_that_are_no_text() -> None:
    tokenizer = Tokenizer(build_tokenizer_json())
    control = [tokenizer.eos_id, tokenizer.image_id, tokenizer.pad_id, tokenizer.vocab_size + 9]
    assert tokenizer.decode([*tokenizer.encode("red"), *control]) == "red"


def test_encode_batch_equals_encode() -> None:
    tokenizer = Tokenizer(build_tokenizer_json())
    texts = [SENTENCE, "", HOSTILE, SENTENCE * 3]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


def test_pickled_tokenizer_still_treats_special_tokens_as_text() -> None:
    tokenizer = Tokenizer(build_tokenizer_json())
    copy: Tokenizer = pickle.loads(pickle.dumps(tokenizer))
    assert copy.encode(HOSTILE) == tokenizer.encode(HOSTILE)
    assert copy.fingerprint == tokenizer.fingerprint


def test_load_takes_folder_or_file(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path)
    by_folder, by_file = Tokenizer.load(folder), Tokenizer.load(folder / "tokenizer.json")
    assert by_folder.fingerprint == by_file.fingerprint


@pytest.mark.parametrize("named", ["</s>", {"content": "</s>"}])
def test_load_takes_eos_from_settings_beside(tmp_path: Path, named: object) -> None:
    content = build_tokenizer_json(eos_token="</s>")
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": named}))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.eos_token == "</s>"
    assert tokenizer.eos_id == json.loads(content)["model"]["vocab"]["</s>"]


def test_load_of_missing_folder_exits_66(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No tokenizer at .*nowhere") as caught:
        Tokenizer.load(tmp_path / "nowhere")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read"),
        (b"\xff\xfe", "not UTF-8"),
        (build_tokenizer_json(eos_token="</s>").encode(), "no token '<|endoftext|>'"),
    ],
)
def test_load_of_broken_file_exits_65(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=message.replace("|", r"\|")) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_load_of_broken_settings_exits_65(tmp_path: Path) -> None:
    (write_tokenizer(tmp_path) / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match=r"tokenizer_config.json is not JSON"):
        Tokenizer.load(tmp_path / "tokenizer")
