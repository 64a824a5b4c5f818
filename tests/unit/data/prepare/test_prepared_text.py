"""A prepared folder is used only while it is whole and made of the same inputs."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phiray.data.manifest import DataManifest, file_entry
from phiray.data.prepare.prepared_text import (
    DOCUMENTS_FILE,
    MANIFEST_FILE,
    ONE_TOKENS_FILE,
    QUARANTINE_FILE,
    STREAMS_FILE,
    PreparedText,
    find_prepared,
)
from phiray.data.sources.records import BadDocument
from phiray.data.token_layout import TokenShard, TokenStream, streams_to_json

TOKENS = [5, 6, 7, 0, 8, 0]


def _write(folder: Path, *, vocab_size: int = 300) -> PreparedText:
    """Write two documents, 5 6 7 EOS and 8 EOS, as two rows of four, as earlier versions did."""
    folder.mkdir()
    dtype = "<u2" if vocab_size <= 65536 else "<u4"
    np.array([*TOKENS, 299, 299], dtype=dtype).tofile(folder / ONE_TOKENS_FILE)
    (folder / DOCUMENTS_FILE).write_text('{"key": "book:1"}\n{"key": "book:2"}\n')
    manifest = DataManifest(
        name="gutenberg",
        files=(),
        tokenizer="t",
        settings={"sequence_length": 4, "vocab_size": vocab_size},
        counts={"tokens": 6},
        outputs=(file_entry(folder / ONE_TOKENS_FILE, root=folder),),
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json())
    return PreparedText(folder, manifest)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(300, "uint16"), (70_000, "uint32")])
def test_tokens_are_mapped_without_padding(tmp_path: Path, vocab_size: int, dtype: str) -> None:
    (tokens,) = _write(tmp_path / "p", vocab_size=vocab_size).token_arrays()
    assert tokens.tolist() == TOKENS
    assert tokens.dtype == np.dtype(dtype)


def test_folder_of_an_earlier_version_is_one_stream(tmp_path: Path) -> None:
    prepared = _write(tmp_path / "p")
    assert prepared.row_ranges() == {"": range(2)}
    (shard,) = prepared.read_layout().shards
    assert shard == TokenShard(ONE_TOKENS_FILE, 6, prepared.manifest.outputs[0].sha256)


def test_streams_are_those_that_the_folder_lists(tmp_path: Path) -> None:
    prepared = _write(tmp_path / "p")
    streams = (TokenStream("a", (TokenShard(ONE_TOKENS_FILE, 4, ""),)), TokenStream("b", ()))
    (prepared.folder / STREAMS_FILE).write_text(streams_to_json(streams))
    outputs = (file_entry(prepared.folder / STREAMS_FILE, root=prepared.folder),)
    listed = PreparedText(prepared.folder, replace(prepared.manifest, outputs=outputs))
    assert listed.read_layout().streams == streams
    assert listed.row_ranges() == {"a": range(1), "b": range(1, 1)}
    assert [tokens.tolist() for tokens in listed.token_arrays()] == [TOKENS[:4]]


def test_document_keys_are_those_of_the_documents(tmp_path: Path) -> None:
    assert _write(tmp_path / "p").document_keys() == ["book:1", "book:2"]


def test_bad_documents_are_read_as_they_were_listed(tmp_path: Path) -> None:
    prepared = _write(tmp_path / "p")
    listed = '{"where": "a.txt", "reason": "blank text", "detail": "3 characters"}\n'
    (prepared.folder / QUARANTINE_FILE).write_text(listed)
    assert prepared.bad_documents() == [BadDocument("a.txt", "blank text", "3 characters")]


def test_whole_folder_is_found(tmp_path: Path) -> None:
    prepared = _write(tmp_path / "p")
    assert find_prepared(prepared.folder, fingerprint=prepared.manifest.fingerprint) == prepared


def test_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    assert find_prepared(tmp_path / "p", fingerprint="f") is None


def test_folder_of_other_inputs_is_not_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert find_prepared(_write(tmp_path / "p").folder, fingerprint="f") is None
    assert "event=prepared_text_changed" in caplog.text


def test_tokens_may_be_left_to_whoever_reads_them_but_not_their_size(tmp_path: Path) -> None:
    prepared = _write(tmp_path / "p")
    fingerprint = prepared.manifest.fingerprint
    (prepared.folder / ONE_TOKENS_FILE).write_bytes(b"x" * 16)
    assert find_prepared(prepared.folder, fingerprint=fingerprint, hash_tokens=False) == prepared
    (prepared.folder / ONE_TOKENS_FILE).write_bytes(b"x" * 15)
    assert find_prepared(prepared.folder, fingerprint=fingerprint, hash_tokens=False) is None
    (prepared.folder / ONE_TOKENS_FILE).unlink()
    assert find_prepared(prepared.folder, fingerprint=fingerprint, hash_tokens=False) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [(ONE_TOKENS_FILE, b"x" * 16), (ONE_TOKENS_FILE, None), (MANIFEST_FILE, b"{")],
)
def test_damaged_folder_is_not_taken(
    tmp_path: Path, name: str, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = _write(tmp_path / "p")
    (prepared.folder / name).unlink()
    if content is not None:
        (prepared.folder / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = find_prepared(prepared.folder, fingerprint=prepared.manifest.fingerprint)
    assert found is None
    assert "event=prepared_text_" in caplog.text
