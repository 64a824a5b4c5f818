import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from phiray.checkpoints import commit as commit_module
from phiray.checkpoints.commit import (
    begin_attempt,
    commit_checkpoint,
    commit_frozen,
    current_attempt,
    delete_old,
)
from phiray.checkpoints.manifest import find_fault, read_manifest
from phiray.checkpoints.read import newest_checkpoint
from phiray.errors import CheckpointError, ExitCode
from tests.unit.checkpoints.checkpoint_builders import commit_small

KILLS = 60
WRITER = """
import pathlib, sys
import torch
from phiray.checkpoints.commit import begin_attempt, commit_checkpoint, delete_old
from phiray.checkpoints.read import newest_checkpoint, read_checkpoint

run = pathlib.Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):  # one child per kill: the import of torch is paid once
    import os
    child = os.fork()
    if child == 0:
        attempt = begin_attempt(run)
        newest = newest_checkpoint(run)
        step = 0 if newest is None else read_checkpoint(newest).step
        while True:
            step += 1
            tensors = {"model": {"w": torch.full((5000,), float(step))}}
            commit_checkpoint(run, step=step, attempt=attempt, tensors=tensors,
                              state={"step": step}, texts={"config.yaml": "x"})
            os.write(1, f"saved {step}\\n".encode())  # in one piece, or not at all
            delete_old(run, keep=2)
    print("child", child, flush=True)
    print("gone", os.waitpid(child, 0)[1], flush=True)
"""


def test_begin_attempt_counts_up(tmp_path: Path) -> None:
    assert [begin_attempt(tmp_path / "run") for _ in range(3)] == [1, 2, 3]
    assert current_attempt(tmp_path / "run") == 3


def test_begin_attempt_removes_what_was_half_written(tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints" / ".tmp-step-00000002-1-99"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_text("half")
    begin_attempt(tmp_path)
    assert not leftover.exists()


def test_commit_checkpoint_writes_a_whole_folder(tmp_path: Path) -> None:
    path = commit_small(tmp_path, step=7)
    assert path == tmp_path / "checkpoints" / "step-00000007"
    assert find_fault(path) is None
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_commit_checkpoint_replaces_the_same_step(tmp_path: Path) -> None:
    commit_small(tmp_path, step=7, fill=1.0)
    path = commit_small(tmp_path, step=7, fill=2.0)
    assert find_fault(path) is None
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_commit_checkpoint_refuses_an_attempt_that_was_overtaken(tmp_path: Path) -> None:
    old = begin_attempt(tmp_path)
    begin_attempt(tmp_path)
    with pytest.raises(CheckpointError, match=r"Attempt 1 .* may not commit: attempt 2 has begun"):
        commit_small(tmp_path, step=1, attempt=old)
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_commit_checkpoint_on_a_full_disk_keeps_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    good = commit_small(tmp_path, step=1)

    def fail(path: Path, _: object) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(commit_module, "write_tensors", fail)
    with pytest.raises(CheckpointError, match="no space is left") as caught:
        commit_small(tmp_path, step=2)
    assert caught.value.exit_code == ExitCode.IO
    assert [p.name for p in good.parent.iterdir()] == [good.name]
    assert newest_checkpoint(tmp_path) == good


def test_commit_checkpoint_meets_a_real_limit_of_file_size(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes the kernel itself refuse the write, as a full disk would."""
    code = (
        "import resource, signal, sys, pathlib, torch\n"
        "from phiray.checkpoints.commit import commit_checkpoint\n"
        "from phiray.errors import CheckpointError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "run = pathlib.Path(sys.argv[1])\n"
        "def save(step, n):\n"
        "    commit_checkpoint(run, step=step, attempt=0, state={}, texts={},\n"
        "                      tensors={'model': {'w': torch.ones(n)}})\n"
        "save(1, 10)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    save(2, 100_000)\n"
        "except CheckpointError as error:\n"
        "    sys.exit(int(error.exit_code))\n"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=120)
    assert process.returncode == ExitCode.IO
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_commit_frozen_is_written_once_and_named_by_each_step(tmp_path: Path) -> None:
    weights = {"vision.weight": torch.ones(4)}
    commit_frozen(tmp_path, weights)
    manifest = (tmp_path / "frozen" / "MANIFEST.json").read_bytes()
    modified = (tmp_path / "frozen").stat().st_mtime_ns
    commit_frozen(tmp_path, weights)
    assert (tmp_path / "frozen").stat().st_mtime_ns == modified
    assert read_manifest(commit_small(tmp_path, step=1)).frozen_sha256 is not None
    (tmp_path / "frozen" / "model.safetensors").write_bytes(b"broken")
    commit_frozen(tmp_path, weights)
    assert (tmp_path / "frozen" / "MANIFEST.json").read_bytes() == manifest
    assert find_fault(tmp_path / "frozen") is None


def test_commit_frozen_writes_nothing_without_frozen_weights(tmp_path: Path) -> None:
    commit_frozen(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_delete_old_keeps_the_newest(tmp_path: Path) -> None:
    for step in (2, 10, 9, 100):
        commit_small(tmp_path, step=step)
    delete_old(tmp_path, keep=2)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000010", "step-00000100"]


def test_commit_checkpoint_refuses_a_folder_without_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(commit_module, "write_json", refuse)
    with pytest.raises(CheckpointError, match="must be writable") as caught:
        commit_checkpoint(tmp_path, step=1, attempt=0, tensors={}, state={}, texts={})
    assert caught.value.exit_code == ExitCode.PERMISSION


@pytest.mark.slow
def test_sigkill_during_commit_leaves_no_torn_checkpoint_and_loses_no_save(tmp_path: Path) -> None:
    chance = random.Random(0)
    acknowledged, killed = 0, 0
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(KILLS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        for line in process.stdout:
            word, _, number = line.strip().partition(" ")
            if word == "child":
                time.sleep(chance.uniform(0.005, 0.08))
                os.kill(int(number), signal.SIGKILL)
                killed += 1
            elif word == "saved":
                acknowledged = max(acknowledged, int(number))
            elif word == "gone":
                assert int(number) == signal.SIGKILL  # and not of an error of its own
                for folder in (tmp_path / "checkpoints").glob("step-*"):
                    assert find_fault(folder) is None
                newest = newest_checkpoint(tmp_path)
                assert newest is None or read_manifest(newest).step >= acknowledged
                assert newest is not None or acknowledged == 0
    assert killed == KILLS
    assert acknowledged > 0
