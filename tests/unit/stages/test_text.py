import shutil
from pathlib import Path

import pytest

from phiray.data.prepare.text import prepare_text
from phiray.data.sources.annotations import Excluded
from phiray.errors import ConfigError
from phiray.stages.text import check_vocabulary, prepare_text_stage, text_ledger
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


def test_prepare_text_stage_lists_the_documents_that_cannot_be_used(
    world: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(world, root, ignore=shutil.ignore_patterns("prepared"))
    (root / "gutenberg" / "books" / "pg999.txt").write_text("\n\n")
    config = scratch_config(root, tmp_path)
    data = config.data.model_copy(update={"max_bad_fraction": 0.5})
    prepared = prepare_text_stage(config.model_copy(update={"data": data}), progress=None)
    detail = "gutenberg/books/pg999.txt: 0 characters, none visible"
    assert prepared.excluded == (Excluded("blank text", detail),)


def test_prepare_text_stage_tokenises_and_tells_of_it(world: Path, tmp_path: Path) -> None:
    config = litgpt_config(world, tmp_path)
    data = config.data.model_copy(update={"prepared": str(tmp_path / "prepared")})
    told: list[tuple[str, int, int]] = []

    def progress(description: str, done: int, total: int) -> None:
        told.append((description, done, total))

    config = config.model_copy(update={"data": data})
    counts = prepare_text_stage(config, progress=progress).counts
    assert counts["rows"] > 0
    assert list((tmp_path / "prepared").glob("redpajama-*/tokens-*.bin"))
    assert told[-1][0] == "tokenise"
    assert told[-1][1] == told[-1][2]
