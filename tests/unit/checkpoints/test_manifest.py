import json
from pathlib import Path

import pytest

from phiray.checkpoints import manifest
from phiray.checkpoints.files import hash_file
from phiray.checkpoints.manifest import MANIFEST_NAME, find_fault, read_manifest, write_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("alpha")
    (tmp_path / "b.txt").write_text("beta")
    write_manifest(tmp_path, step=3, attempt=2, frozen_sha256="ff")
    return tmp_path


def test_read_manifest_returns_what_was_written(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert (manifest.step, manifest.attempt, manifest.frozen_sha256) == (3, 2, "ff")
    assert {name: entry.num_bytes for name, entry in manifest.files.items()} == {
        "a.txt": 5,
        "b.txt": 4,
    }


def test_find_fault_finds_none_in_a_whole_folder(folder: Path) -> None:
    assert find_fault(folder) is None


@pytest.mark.parametrize("position", range(5))
def test_find_fault_notices_every_flipped_byte(folder: Path, position: int) -> None:
    data = bytearray((folder / "a.txt").read_bytes())
    data[position] ^= 1
    (folder / "a.txt").write_bytes(data)
    assert find_fault(folder) == "a.txt does not have the sha256 of the manifest"


def test_find_fault_notices_a_missing_and_a_cut_file(folder: Path) -> None:
    (folder / "a.txt").write_text("alp")
    assert find_fault(folder) == "a.txt has 3 bytes, not 5"
    (folder / "a.txt").unlink()
    assert find_fault(folder) == "a.txt is missing"


def test_find_fault_names_a_file_that_is_deleted_at_this_moment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_deleted(path: Path) -> str:
        path.unlink()
        return hash_file(path)

    monkeypatch.setattr(manifest, "hash_file", hash_deleted)
    assert find_fault(folder) == "a.txt is missing"


def test_find_fault_notices_every_cut_of_the_manifest(folder: Path) -> None:
    whole = (folder / MANIFEST_NAME).read_text()
    for length in range(len(whole.rstrip())):
        (folder / MANIFEST_NAME).write_text(whole[:length])
        fault = find_fault(folder)
        assert fault is not None
        assert "cannot be read" in fault


@pytest.mark.parametrize("text", ["[]", "null", "3", '{"format": 2}', '{"format": 1}'])
def test_find_fault_notices_json_of_another_form(folder: Path, text: str) -> None:
    (folder / MANIFEST_NAME).write_text(text)
    assert "cannot be read" in (find_fault(folder) or "")


def test_find_fault_notices_a_name_that_leaves_the_folder(folder: Path) -> None:
    value = json.loads((folder / MANIFEST_NAME).read_text())
    value["files"]["../outside"] = value["files"]["a.txt"]
    (folder / MANIFEST_NAME).write_text(json.dumps(value))
    assert "cannot be read" in (find_fault(folder) or "")
