"""Where a run writes: beginning an attempt, and going on from the newest checkpoint.

    open_run(run_dir, texts, *, collective) -> RunFiles
    resume(state, files, *, collective) -> None

Limits: every worker must see the folder: on several machines it lies on shared storage.
"""

from dataclasses import dataclass
from pathlib import Path

from phiray.checkpoints.commit import begin_attempt
from phiray.checkpoints.read import newest_checkpoint
from phiray.training.collective import Collective, run_on_first
from phiray.training.state import TrainState, restore_state


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
