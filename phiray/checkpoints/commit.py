"""Commit checkpoints: whole or not at all, and only by the newest attempt of a run.

    begin_attempt(run_dir) -> int
    commit_checkpoint(run_dir, *, step, attempt, tensors, state, texts) -> Path
    commit_frozen(run_dir, tensors) -> None
    delete_old(run_dir, *, keep) -> None

Source: the commit protocol of phiray's design: temporary folder, fsync, manifest, fsync, rename,
fsync; deleting renames first. A prototype of it left no torn checkpoint in 300 SIGKILLs.
Limits: one writer per attempt (rank 0). SIGKILL is tested, loss of power is not.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from phiray.checkpoints.files import (
    error_from_write,
    hash_file,
    remove_folder,
    sync_path,
    write_json,
    write_tensors,
    write_text,
)
from phiray.checkpoints.manifest import MANIFEST_NAME, find_fault, write_manifest
from phiray.errors import CheckpointError

CHECKPOINTS_NAME = "checkpoints"
FROZEN_NAME = "frozen"
ATTEMPTS_NAME = "attempts"
STATE_NAME = "state.json"
_LEFTOVERS = (".tmp-", ".trash-")


def step_name(step: int) -> str:
    """Return the folder name of a step's checkpoint; names sort like steps."""
    return f"step-{step:08d}"


def begin_attempt(run_dir: Path) -> int:
    """Claim the next attempt number of a run, which fences all writers of earlier ones.

    The number is claimed by creating a file that must not exist yet, so two starts at the same
    time never get the same one. What an earlier attempt left half-written is removed.
    """
    try:
        for name in (ATTEMPTS_NAME, CHECKPOINTS_NAME):
            (run_dir / name).mkdir(parents=True, exist_ok=True)
        sync_path(run_dir)  # or the first checkpoint could be lost with the folder that holds it
        attempt = current_attempt(run_dir) + 1
        while not _claim(run_dir / ATTEMPTS_NAME / f"{attempt:06d}"):
            attempt += 1
    except OSError as error:
        raise error_from_write(error, what="The run folder", path=run_dir) from error
    for folder in (run_dir, run_dir / CHECKPOINTS_NAME):
        for mark in _LEFTOVERS:
            for leftover in folder.glob(f"{mark}*"):
                remove_folder(leftover)
    return attempt


def current_attempt(run_dir: Path) -> int:
    """Return the newest attempt number, 0 before the first."""
    names = (path.name for path in (run_dir / ATTEMPTS_NAME).glob("[0-9]*"))
    return max((int(name) for name in names), default=0)


def commit_checkpoint(
    run_dir: Path,
    *,
    step: int,
    attempt: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, object],
    texts: Mapping[str, str],
) -> Path:
    """Write one checkpoint; it becomes visible whole, by one rename.

    Args:
        run_dir: folder of the run.
        step: optimizer steps done.
        attempt: the number that `begin_attempt` gave to this start of the run.
        tensors: `{"model": {...}, "optimizer": {...}}`; each becomes one safetensors file.
        state: plain JSON, kept as state.json.
        texts: file name to text, such as config.yaml and ledger.json.

    Returns:
        The folder of the checkpoint.

    Raises:
        CheckpointError: if a newer attempt has begun (65), or the write failed (74, 77).
    """
    parent = run_dir / CHECKPOINTS_NAME
    temporary = parent / f".tmp-{step_name(step)}-{attempt}-{os.getpid()}"
    target = parent / step_name(step)
    try:
        temporary.mkdir(parents=True)
        for name, group in tensors.items():
            write_tensors(temporary / f"{name}.safetensors", dict(group))
        write_json(temporary / STATE_NAME, dict(state))
        for name, text in texts.items():
            write_text(temporary / name, text)
        frozen = run_dir / FROZEN_NAME / MANIFEST_NAME
        frozen_sha256 = hash_file(frozen) if frozen.is_file() else None
        write_manifest(temporary, step=step, attempt=attempt, frozen_sha256=frozen_sha256)
        _check_fence(run_dir, attempt=attempt)
        _publish(temporary, target)
    except (OSError, SafetensorError) as error:
        raise error_from_write(error, what=f"Checkpoint {step_name(step)}", path=parent) from error
    finally:
        remove_folder(temporary)
    return target


def commit_frozen(run_dir: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the weights that the run never changes, once; an intact copy is left alone.

    Args:
        run_dir: folder of the run.
        tensors: frozen weights by name; nothing is written if there are none.
    """
    target = run_dir / FROZEN_NAME
    if not tensors or (target.is_dir() and find_fault(target) is None):
        return
    temporary = run_dir / f".tmp-{FROZEN_NAME}-{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        write_tensors(temporary / "model.safetensors", dict(tensors))
        # step and attempt 0: equal weights give an equal manifest, so a lost one can be rewritten
        write_manifest(temporary, step=0, attempt=0, frozen_sha256=None)
        _publish(temporary, target)
    except (OSError, SafetensorError) as error:
        raise error_from_write(error, what="The frozen weights", path=target) from error
    finally:
        remove_folder(temporary)


def delete_old(run_dir: Path, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints; each is renamed away before."""
    folders = sorted((run_dir / CHECKPOINTS_NAME).glob("step-[0-9]*"))
    for folder in folders[: max(0, len(folders) - keep)]:
        trash = folder.with_name(f".trash-{folder.name}-{os.getpid()}")
        folder.rename(trash)
        remove_folder(trash)


def _claim(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _check_fence(run_dir: Path, *, attempt: int) -> None:
    newest = current_attempt(run_dir)
    if newest > attempt:
        raise CheckpointError(
            f"Attempt {attempt} of the run {run_dir} may not commit: attempt {newest} has begun. "
            "Only the newest start of a run writes checkpoints. Stop one of the two."
        )


def _publish(temporary: Path, target: Path) -> None:
    sync_path(temporary)
    trash = target.with_name(f".trash-{target.name}-{os.getpid()}")
    if target.exists():
        target.rename(trash)
    temporary.rename(target)
    sync_path(target.parent)
    remove_folder(trash)
