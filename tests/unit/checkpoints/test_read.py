import logging
import shutil
from pathlib import Path

import pytest
import torch

from phiray.checkpoints import read
from phiray.checkpoints.commit import commit_frozen
from phiray.checkpoints.manifest import find_fault
from phiray.checkpoints.read import newest_checkpoint, read_checkpoint, resolve_checkpoint
from phiray.errors import CheckpointError, ExitCode
from tests.unit.checkpoints.checkpoint_builders import TEXTS, commit_small


def test_read_checkpoint_returns_what_was_committed(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(commit_small(tmp_path, step=5, fill=3.0))
    assert checkpoint.step == 5
    assert checkpoint.state == {"step": 5, "epoch": 0}
    assert checkpoint.texts == TEXTS
    torch.testing.assert_close(
        checkpoint.read_trainable()["weight"], torch.full((2, 3), 3.0), rtol=0, atol=0
    )
    assert list(checkpoint.read_optimizer()) == ["exp_avg/weight"]


def test_read_checkpoint_merges_frozen_weights(tmp_path: Path) -> None:
    commit_frozen(tmp_path, {"vision.weight": torch.ones(4)})
    checkpoint = read_checkpoint(commit_small(tmp_path, step=5))
    assert sorted(checkpoint.read_tensors()) == ["bias", "vision.weight", "weight"]
    assert sorted(checkpoint.read_tensors(below="vision.")) == ["vision.weight"]
    assert sorted(checkpoint.read_tensors(below="b")) == ["bias"]


def test_read_tensors_names_missing_broken_and_exchanged_frozen_weights(tmp_path: Path) -> None:
    commit_frozen(tmp_path, {"vision.weight": torch.ones(4)})
    checkpoint = read_checkpoint(commit_small(tmp_path, step=5))
    (tmp_path / "frozen" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"model.safetensors has 1 bytes"):
        checkpoint.read_tensors()
    shutil.rmtree(tmp_path / "frozen")
    with pytest.raises(CheckpointError, match=r"frozen weights .* are missing") as caught:
        checkpoint.read_tensors()
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    commit_frozen(tmp_path, {"vision.weight": torch.zeros(4)})
    with pytest.raises(CheckpointError, match="are not those that"):
        checkpoint.read_tensors()


def test_a_checkpoint_that_is_deleted_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = commit_small(tmp_path, step=5)
    checkpoint = read_checkpoint(folder)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=r"step-00000005 was deleted while") as caught:
        checkpoint.read_tensors()
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    monkeypatch.setattr(read, "resolve_checkpoint", lambda path: path)  # it was whole just now
    with pytest.raises(CheckpointError, match=r"step-00000005 was deleted while"):
        read_checkpoint(folder)


def test_a_checkpoint_that_is_deleted_while_it_is_verified_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = commit_small(tmp_path, step=5)

    def find_deleted(path: Path) -> str | None:
        shutil.rmtree(path)
        return find_fault(path)

    monkeypatch.setattr(read, "find_fault", find_deleted)
    with pytest.raises(CheckpointError, match=r"step-00000005 was deleted while"):
        read_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "config.yaml"])
def test_newest_checkpoint_falls_back_and_names_the_broken_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    good = commit_small(tmp_path, step=1)
    bad = commit_small(tmp_path, step=2)
    data = bytearray((bad / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bad / name).write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path) == good
    assert "broken-step-00000002" in caplog.text
    assert name in caplog.text
    assert (good.parent / "broken-step-00000002").is_dir()


def test_newest_checkpoint_of_a_second_broken_one_takes_another_name(tmp_path: Path) -> None:
    for _ in range(2):
        (commit_small(tmp_path, step=2) / "MANIFEST.json").unlink()
        assert newest_checkpoint(tmp_path) is None
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["broken-step-00000002", "broken-step-00000002-2"]


def test_newest_checkpoint_of_a_new_run_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None


def test_resolve_checkpoint_takes_a_run_or_a_checkpoint(tmp_path: Path) -> None:
    commit_small(tmp_path, step=1)
    newest = commit_small(tmp_path, step=2)
    assert resolve_checkpoint(tmp_path) == newest
    assert resolve_checkpoint(newest) == newest


def test_resolve_checkpoint_explains_a_wrong_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is not a folder") as caught:
        resolve_checkpoint(tmp_path / "nothing")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    with pytest.raises(CheckpointError, match="holds no committed checkpoint") as caught:
        resolve_checkpoint(tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_resolve_checkpoint_refuses_a_broken_checkpoint_by_name(tmp_path: Path) -> None:
    path = commit_small(tmp_path, step=1)
    (path / "config.yaml").write_text("changed")
    with pytest.raises(CheckpointError, match=r"is broken: config.yaml has 7 bytes"):
        resolve_checkpoint(path)
    assert path.is_dir()


def test_resolve_checkpoint_of_a_run_takes_no_older_one_for_a_broken_one(tmp_path: Path) -> None:
    good, bad = commit_small(tmp_path, step=1), commit_small(tmp_path, step=2)
    (bad / "optimizer.safetensors").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match=f"step-00000002 is broken.*whole one: {good}"):
        resolve_checkpoint(tmp_path)
    assert bad.is_dir(), "a reader changes nothing"
    (good / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"Train the run anew\.$"):
        resolve_checkpoint(tmp_path)
