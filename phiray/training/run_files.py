"""Where a run writes: attempts, checkpoints, and going on from the newest one.

    open_run(run_dir, texts, *, collective) -> RunFiles
    resume(state, files, *, collective) -> None
    write_checkpoint(state, files, *, position, keep) -> Path       # rank 0 only

Limits: every worker must see the folder: on several machines it lies on shared storage.
"""

from dataclasses import dataclass
from pathlib import Path

from phiray.checkpoints.commit import (
    CHECKPOINTS_NAME,
    begin_attempt,
    commit_checkpoint,
    delete_old,
)
from phiray.checkpoints.read import newest_checkpoint
from phiray.errors import CheckpointError
from phiray.training.collective import Collective, run_on_first
from phiray.training.metrics_log import log_event
from phiray.training.state import TrainState, checkpoint_tensors, restore_state


@dataclass(frozen=True)
class RunFiles:
    """Where a run writes, and as which attempt."""

    run_dir: Path
    attempt: int
    texts: dict[str, str]
    """Texts that every checkpoint carries: config.yaml, ledger.json."""


def open_run(run_dir: Path, texts: dict[str, str], *, collective: Collective) -> RunFiles:
    """Begin a new attempt of a run, on all workers together."""
    attempt = run_on_first(collective, lambda: begin_attempt(run_dir))
    return RunFiles(run_dir=run_dir, attempt=attempt, texts=texts)


def resume(state: TrainState, files: RunFiles, *, collective: Collective) -> None:
    """Restore the newest whole checkpoint of the run, if there is one; tell of broken ones.

    Raises:
        CheckpointError: if there are checkpoints, and all of them are broken.
    """
    path = run_on_first(collective, lambda: _find_checkpoint(files))
    if path is not None:
        restore_state(state, path)


def _find_checkpoint(files: RunFiles) -> Path | None:
    before = _set_aside(files.run_dir)
    path = newest_checkpoint(files.run_dir)
    broken = _set_aside(files.run_dir)
    new = [name for name in broken if name not in before]
    if new:
        log_event(files.run_dir, "set aside", attempt=files.attempt, names=new)
    if path is None and broken:
        raise CheckpointError(
            f"All checkpoints of {files.run_dir} are broken, and set aside: {', '.join(broken)}. "
            "One must be whole, or the run would begin again at step 0. Mend the disk and put one "
            "back, or start a run of another name."
        )
    return path


def _set_aside(run_dir: Path) -> list[str]:
    """List the broken checkpoints that were renamed out of the way, in this start or before."""
    return sorted(path.name for path in (run_dir / CHECKPOINTS_NAME).glob("broken-*"))


def write_checkpoint(
    state: TrainState, files: RunFiles, *, position: dict[str, object], keep: int
) -> Path:
    """Commit a checkpoint of the state, then delete all but the newest `keep`.

    Args:
        state: what to keep.
        files: the run, and the attempt that writes.
        position: plain JSON for state.json: the place in the data.
        keep: how many checkpoints stay.
    """
    path = commit_checkpoint(
        files.run_dir,
        step=state.step,
        attempt=files.attempt,
        tensors=checkpoint_tensors(state),
        state=position,
        texts=files.texts,
    )
    delete_old(files.run_dir, keep=keep)
    return path
