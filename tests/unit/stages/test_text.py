from pathlib import Path

import pytest

from phiray.data.prepare import prepare_text
from phiray.errors import ConfigError
from phiray.stages.text import check_vocabulary, text_ledger
from phiray.text.tokenizer import Tokenizer
from tests.stage_builders import litgpt_config, phi_config, scratch_config
from tests.text_builders import build_tokenizer_json

TOKENIZER = Tokenizer(build_tokenizer_json())


def test_vocabulary_may_be_exactly_as_large_as_the_ids() -> None:
    check_vocabulary(TOKENIZER, phi_config(vocab_size=TOKENIZER.vocab_size))


def test_vocabulary_one_row_short_is_refused_with_a_mend() -> None:
    size = TOKENIZER.vocab_size - 1
    with pytest.raises(ConfigError, match=rf"model\.vocab_size is {size}.*=\d+\.$"):
        check_vocabulary(TOKENIZER, phi_config(vocab_size=size))


def test_text_ledger_has_numbers_for_books_and_hashes_for_documents(
    world: Path, runs: Path
) -> None:
    books = text_ledger(prepare_text(scratch_config(world, runs).data))
    documents = text_ledger(prepare_text(litgpt_config(world, runs).data))
    assert all(isinstance(number, int) for number in books["book"])
    assert all(isinstance(key, str) for key in documents["document"])
