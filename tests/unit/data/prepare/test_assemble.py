"""Finished shards put together: what the folder holds, and that it says so."""

import json
from pathlib import Path

import pytest

from phiray.config.data import SplitConfig
from phiray.data.manifest import DataManifest, file_entry
from phiray.data.prepare import cut
from phiray.data.prepare.assemble import assemble
from phiray.data.prepare.cut import cut_streams
from phiray.data.prepare.prepared_text import MANIFEST_FILE, PreparedText, find_prepared
from phiray.data.prepare.shards import ShardWriter
from phiray.data.prepare.streams import make_streams
from phiray.data.prepare.threads import run_in_threads
from phiray.data.sources.documents import index_documents
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import SENTENCE, write_redpajama, write_tokenizer

LIMIT = 200
TEXTS = [f"{SENTENCE * (1 + number % 3)}{number}" for number in range(40)]


def assembled(root: Path, *, limit: int | None) -> PreparedText:
    tokenizer = Tokenizer.load(write_tokenizer(root))
    write_redpajama(root, [*TEXTS, TEXTS[0], " "])
    index = index_documents("redpajama", root, split=SplitConfig(heldout_fraction=0.25, salt="t"))
    folder, records = root / "folder", root / "records"
    for path in (folder, records):
        path.mkdir(exist_ok=True)
    writer = ShardWriter(folder, records, "redpajama", root, tokenizer)
    plans = cut_streams(index.train, separate_files=False, most_bytes=None)
    made = make_streams(
        plans, writer, limit=limit, run_shards=run_in_threads, on_done=lambda _: None
    )
    settings = {"sequence_length": 16, "vocab_size": tokenizer.vocab_size}
    plan = DataManifest("redpajama", (), tokenizer.fingerprint, settings)
    manifest = assemble(made, writer, plan=plan, index=index, part="train", sequence_length=16)
    return PreparedText(folder, manifest)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "MIN_BYTES", 300)


@pytest.mark.parametrize("limit", [None, LIMIT])
def test_manifest_is_true_of_every_file(tmp_path: Path, limit: int | None) -> None:
    prepared = assembled(tmp_path, limit=limit)
    manifest, folder = prepared.manifest, prepared.folder
    assert (folder / MANIFEST_FILE).read_text() == manifest.to_json()
    assert [file_entry(folder / file.path, root=folder) for file in manifest.outputs] == list(
        manifest.outputs
    )
    names = {MANIFEST_FILE, *(file.path for file in manifest.outputs)}
    assert {path.name for path in folder.iterdir()} == names
    assert find_prepared(folder, fingerprint=manifest.fingerprint) == prepared


def test_counts_add_up(tmp_path: Path) -> None:
    counts = assembled(tmp_path, limit=None).manifest.counts
    used = counts["documents"] + counts["heldout_documents"]
    assert used == len(TEXTS)
    assert (counts["duplicate_documents"], counts["bad_documents"]) == (1, 1)
    assert counts["beyond_limit_documents"] == 0
    assert 16 * counts["rows"] == counts["tokens"] + counts["padding"]


def test_limit_cuts_behind_the_document_that_reaches_it(tmp_path: Path) -> None:
    prepared = assembled(tmp_path, limit=LIMIT)
    counts = prepared.manifest.counts
    with (prepared.folder / "documents.jsonl").open() as lines:
        documents = [json.loads(line) for line in lines]
    last = documents[-1]
    assert last["start"] < LIMIT <= last["start"] + last["num_tokens"] == counts["tokens"]
    assert sum(document["num_bytes"] for document in documents) == counts["bytes"]
    assert counts["beyond_limit_documents"] > 0
    *whole, cut_shard = prepared.read_layout().shards
    for shard in whole:
        assert (prepared.folder / shard.file).stat().st_size == 2 * shard.num_tokens
    assert (prepared.folder / cut_shard.file).stat().st_size >= 2 * cut_shard.num_tokens


def test_what_does_not_belong_to_the_folder_goes(tmp_path: Path) -> None:
    for folder in (tmp_path / "folder", tmp_path / "records"):
        folder.mkdir()
    (tmp_path / "folder" / "tokens-99999.bin").write_bytes(b"of other settings")
    prepared = assembled(tmp_path, limit=None)
    assert not (prepared.folder / "tokens-99999.bin").exists()
