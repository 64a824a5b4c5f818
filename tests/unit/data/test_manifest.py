"""The manifest: hashes that name the inputs, and JSON that comes back as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phiray.data.manifest import DataManifest, FileEntry, file_entries, file_entry
from phiray.errors import DataError, ExitCode

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
MANIFEST = DataManifest(
    name="gutenberg",
    files=(FileEntry("gutenberg/books/pg84.txt", 3, ABC),),
    tokenizer="t",
    settings={"sequence_length": 8, "max_train_tokens": None, "heldout_fraction": 0.1},
    counts={"rows": 4},
    bad_counts={"blank text": 1},
    outputs=(FileEntry("tokens.bin", 3, ABC),),
)


def test_file_entry_measures_and_hashes(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.txt"
    file.parent.mkdir()
    file.write_bytes(b"abc")
    assert file_entry(file, root=tmp_path) == FileEntry("a/b.txt", 3, ABC)


def test_file_entries_tell_progress(tmp_path: Path) -> None:
    files = [tmp_path / name for name in "ab"]
    for file in files:
        file.write_bytes(b"abc")
    told: list[tuple[str, int, int]] = []
    entries = file_entries(files, root=tmp_path, progress=lambda *what: told.append(what))
    assert [entry.path for entry in entries] == ["a", "b"]
    assert told == [("hash files", 1, 2), ("hash files", 2, 2)]


def test_missing_file_exits_66(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt cannot be read") as caught:
        file_entry(tmp_path / "gone.txt", root=tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_json_comes_back_as_it_was() -> None:
    text = MANIFEST.to_json()
    assert DataManifest.from_json(text) == MANIFEST
    assert json.loads(text)["fingerprint"] == MANIFEST.fingerprint


def test_fingerprint_names_inputs_and_not_outcome() -> None:
    outcome = replace(MANIFEST, counts={}, bad_counts={}, outputs=())
    assert outcome.fingerprint == MANIFEST.fingerprint
    others = [
        replace(MANIFEST, name="redpajama"),
        replace(MANIFEST, files=(replace(MANIFEST.files[0], sha256="0"),)),
        replace(MANIFEST, tokenizer="u"),
        replace(MANIFEST, settings={**MANIFEST.settings, "sequence_length": 9}),
    ]
    assert len({other.fingerprint for other in [MANIFEST, *others]}) == 5


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"fingerprint": "x", "files": [], "outputs": [], "more": 1}']
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        DataManifest.from_json(text)


def test_manifest_changed_by_hand_is_refused() -> None:
    text = MANIFEST.to_json().replace('"sequence_length": 8', '"sequence_length": 9')
    with pytest.raises(DataError, match="it was changed"):
        DataManifest.from_json(text)
