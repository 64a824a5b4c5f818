"""Where a run writes: attempts, checkpoints, and going on from the newest one.

    open_run(run_dir, texts, *, collective) -> RunFiles
    resume(state, files, *, collective) -> None
    write_checkpoint(state, files, *, position, keep) -> Path       # rank 0 only

Limits: every worker must see the folder: on several machines it lies on shared storage.
"""

from dataclasses import dataclass
from pathlib import Path

from phiray.checkpoints.commit import begin_attempt, commit_checkpoint, delete_old
from phiray.checkpoints.read import newest_checkpoint
from phiray.training.collective import Collective, run_on_first
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
    """Restore the newest whole checkpoint of the run, if there is one."""
    path = run_on_first(collective, lambda: newest_checkpoint(files.run_dir))
    if path is not None:
        restore_state(state, path)


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
