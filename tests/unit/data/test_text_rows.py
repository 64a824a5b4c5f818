"""Prepared text as rows."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from phiray.config.data import SplitConfig, TextDataConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.prepare.prepared_text import PreparedText
from phiray.data.prepare.text import prepare_text
from phiray.data.rows import ROW_SCHEMA, RowSource
from phiray.data.split import document_key, is_heldout
from phiray.data.text_rows import TextRows, heldout_documents
from phiray.data.token_layout import TokenLayout, TokenShard, TokenStream
from phiray.data.token_rows import TokenRows
from phiray.errors import DataError, ExitCode
from phiray.types import FILLER_ROW
from tests.text_builders import SENTENCE, all_tokens, write_redpajama, write_tokenizer

TEXTS = [f"{SENTENCE}{number}" for number in range(30)]
LENGTH = 16


@pytest.fixture
def config(tmp_path: Path) -> TextDataConfig:
    write_tokenizer(tmp_path)
    write_redpajama(tmp_path, [*TEXTS, TEXTS[0]])
    return TextDataConfig(
        root=str(tmp_path),
        source="redpajama",
        sequence_length=LENGTH,
        split=SplitConfig(heldout_fraction=0.3, salt="t"),
    )


@pytest.fixture
def prepared(config: TextDataConfig) -> PreparedText:
    return prepare_text(config)


def only_shard(prepared: PreparedText) -> Path:
    (shard,) = prepared.read_layout().shards
    return prepared.folder / shard.file


def test_rows_in_order_are_the_stream_of_tokens(prepared: PreparedText) -> None:
    rows: RowSource = TextRows.from_prepared(prepared)
    assert rows.quick_fingerprint == rows.fingerprint == prepared.manifest.fingerprint
    table = rows.read(np.arange(rows.num_rows))
    assert table.schema == ROW_SCHEMA
    tokens = [token for row in table["input_ids"].to_pylist() for token in row]
    assert tokens == all_tokens(prepared).tolist()
    assert table["labels"].equals(table["input_ids"])
    lengths = [len(row) for row in table["input_ids"].to_pylist()]
    assert set(lengths[:-1]) == {LENGTH}
    assert 0 < lengths[-1] < LENGTH


def test_read_keeps_the_order_asked_for_and_fills_up(prepared: PreparedText) -> None:
    rows = TextRows.from_prepared(prepared)
    last = rows.num_rows - 1
    table = rows.read(np.array([3, FILLER_ROW, last, 0, 3]))
    table.validate(full=True)
    stream = all_tokens(prepared)
    assert table["row_id"].to_pylist() == [3, FILLER_ROW, last, 0, 3]
    assert table["input_ids"].to_pylist() == [
        stream[3 * LENGTH : 4 * LENGTH].tolist(),
        [],
        stream[last * LENGTH :].tolist(),
        stream[:LENGTH].tolist(),
        stream[3 * LENGTH : 4 * LENGTH].tolist(),
    ]
    assert table["error"].null_count == table["image"].null_count == 5


@pytest.mark.parametrize("row_ids", [[], [FILLER_ROW, FILLER_ROW]])
def test_read_of_no_rows_gives_no_tokens(prepared: PreparedText, row_ids: list[int]) -> None:
    table = TextRows.from_prepared(prepared).read(np.array(row_ids, dtype=np.int64))
    assert table.schema == ROW_SCHEMA
    assert table["input_ids"].to_pylist() == [[] for _ in row_ids]


def test_pickled_rows_are_small_and_read_the_same(prepared: PreparedText) -> None:
    rows = TextRows.from_prepared(prepared)
    data = pickle.dumps(rows)
    copy: TextRows = pickle.loads(data)
    assert len(data) < 1000
    assert copy.read(np.array([1, 2])).equals(rows.read(np.array([1, 2])))


def test_fingerprint_is_that_of_the_inputs(prepared: PreparedText) -> None:
    assert TextRows.from_prepared(prepared).fingerprint == prepared.manifest.fingerprint


@pytest.mark.parametrize("wrong", [-2, 10_000])
def test_row_that_does_not_exist_is_refused(prepared: PreparedText, wrong: int) -> None:
    with pytest.raises(DataError, match=f"Row {wrong} was asked for"):
        TextRows.from_prepared(prepared).read(np.array([0, wrong]))


def test_tokens_that_are_not_here_exit_66(prepared: PreparedText) -> None:
    rows = TextRows.from_prepared(prepared)
    only_shard(prepared).unlink()
    with pytest.raises(DataError, match="shared storage") as caught:
        rows.read(np.array([0]))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_rows_through_a_nodes_cache_are_the_same(prepared: PreparedText, tmp_path: Path) -> None:
    direct = TextRows.from_prepared(prepared)
    rows = TextRows.from_prepared(prepared, cache=NodeCache(str(tmp_path / "node")))
    row_ids = np.array([3, FILLER_ROW, rows.num_rows - 1, 0])

    first = rows.read(row_ids)
    (copy,) = (tmp_path / "node").glob("*/*")
    copy.write_bytes(bytes(copy.stat().st_size))
    again = rows.read(row_ids)
    shard = only_shard(prepared)
    shard.unlink()
    without_storage = rows.read(row_ids)

    shard.write_bytes(copy.read_bytes())
    expected = direct.read(row_ids)
    assert first.equals(expected)
    assert again.equals(expected)
    assert without_storage.equals(expected)
    assert copy.name == prepared.read_layout().shards[0].sha256


def test_tokens_that_changed_on_the_storage_are_refused(
    prepared: PreparedText, tmp_path: Path
) -> None:
    rows = TextRows.from_prepared(prepared, cache=NodeCache(str(tmp_path / "node")))
    shard = only_shard(prepared)
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DataError, match="is not the file that its manifest names"):
        rows.read(np.array([0]))


def test_heldout_documents_are_those_no_row_is_made_of(
    config: TextDataConfig, prepared: PreparedText
) -> None:
    documents = list(heldout_documents(config))
    expected = {
        text for text in TEXTS if is_heldout(document_key(text), salt="t", heldout_fraction=0.3)
    }
    assert len(documents) == len(expected) > 0
    assert {document.text for document in documents} == expected
    assert {document.key for document in documents}.isdisjoint(prepared.document_keys())


@pytest.mark.parametrize(("length", "rows"), [(32, 4096), (128, 4096), (2048, 512), (2**21, 1)])
def test_a_block_holds_some_megabytes_whatever_the_length_of_a_row(length: int, rows: int) -> None:
    layout = TokenLayout((TokenStream("", (TokenShard("tokens.bin", 10**9, ""),)),), length)
    source = TextRows(TokenRows("folder", layout, dtype="uint16"), fingerprint="")
    assert source.rows_per_block == rows
