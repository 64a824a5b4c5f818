import shutil
from collections import Counter
from pathlib import Path

import pytest

from phiray.config.data import TextDataConfig
from phiray.data.order import epoch_order, plan_order
from phiray.data.prepare.text import prepare_text
from phiray.data.sources.annotations import Excluded
from phiray.errors import ConfigError
from phiray.stages.litgpt import build
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


def test_files_that_are_kept_apart_are_weighed(world: Path, tmp_path: Path) -> None:
    config = litgpt_config(world, tmp_path)
    kept = {**config.data.model_dump(), "prepared": str(tmp_path), "separate_files": True}
    names = sorted(file.stem for file in (world / "redpajama").iterdir())
    assert len(names) > 2
    data = TextDataConfig.model_validate({**kept, "weights": {names[0]: 2}})
    mixed = config.model_copy(update={"data": data})
    prepared = prepare_text_stage(mixed, progress=None)
    source = build(mixed).source
    weights = {part.name: part.weight for part in prepared.mixture}
    assert weights == {name: 2.0 if name == names[0] else 1.0 for name in names}
    assert source.mixture == prepared.mixture
    order = plan_order(source, seed=0, global_batch_size=4, group_by_length=False)
    counts = Counter(epoch_order(order, 0).tolist())
    for part in source.mixture:
        rows = range(part.first_row, part.first_row + part.num_rows)
        assert {counts[row] for row in rows} == {int(part.weight)}
    assert len(counts) == source.num_rows
    wrong = data.model_copy(update={"weights": {"nothing": 2.0}})
    with pytest.raises(ConfigError, match=rf"names 'nothing', .* one of {names[0]}, .*: a file"):
        prepare_text_stage(mixed.model_copy(update={"data": wrong}), progress=None)


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
