"""Find and read committed checkpoints; what is broken is set aside and named.

    newest_checkpoint(run_dir) -> Path | None       # for the run itself: steps over broken ones
    resolve_checkpoint(path) -> Path                # for all others: refuses a broken one
    read_checkpoint(path) -> Checkpoint(path, step, state, texts)
        .read_tensors() / .read_trainable() / .read_optimizer() -> dict[str, Tensor]

Source: the resume point is found by looking at storage, since the record that Ray keeps of its
checkpoints is not crash-safe (its file can be torn, and then the run cannot be resumed at all).
Limits: safetensors and JSON only; nothing here unpickles.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from phiray.checkpoints.commit import CHECKPOINTS_NAME, FROZEN_NAME, STATE_NAME
from phiray.checkpoints.files import hash_file
from phiray.checkpoints.manifest import MANIFEST_NAME, find_fault, read_manifest
from phiray.errors import CheckpointError, ExitCode

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were verified; tensors are read when asked for."""

    path: Path
    step: int
    """Optimizer steps done."""
    state: dict[str, object]
    """state.json."""
    texts: dict[str, str]
    """The other text files, by name: config.yaml, ledger.json."""
    frozen_sha256: str | None
    """Which frozen weights belong to it; none without any."""

    def read_trainable(self) -> dict[str, Tensor]:
        """Read the weights that the run trains, and all buffers, on the CPU."""
        return _load(self.path / "model.safetensors")

    def read_optimizer(self) -> dict[str, Tensor]:
        """Read the optimizer's moments by parameter name, on the CPU."""
        return _load(self.path / "optimizer.safetensors")

    def read_tensors(self, *, below: str = "") -> dict[str, Tensor]:
        """Read all weights of the model, frozen ones included, on the CPU.

        Args:
            below: how the names begin of those that are wanted.

        Raises:
            CheckpointError: if the frozen weights are missing (66) or broken (65).
        """
        tensors = _load(self.path / "model.safetensors", below=below)
        if self.frozen_sha256 is not None:
            tensors |= _load(_verified_frozen(self) / "model.safetensors", below=below)
        return tensors


def newest_checkpoint(run_dir: Path) -> Path | None:
    """Find the newest checkpoint that is whole; rename each broken one before it and warn."""
    for folder in _committed(run_dir):
        fault = find_fault(folder)
        if fault is None:
            return folder
        _set_aside(folder, fault=fault)
    return None


def resolve_checkpoint(path: Path) -> Path:
    """Turn the path of a checkpoint, or of a run (its newest one), into a verified checkpoint.

    Nothing older is taken in place of a broken one: the caller would not know what it has.

    Raises:
        CheckpointError: if there is none (66), or the one asked for is broken (65).
    """
    if not path.is_dir():
        raise CheckpointError(
            f"{path} is not a folder. Expected a checkpoint (a folder with {MANIFEST_NAME}) or a "
            "run. Check the path; `phiray train` prints it at its end.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    if (path / MANIFEST_NAME).exists():
        _require_whole(path)
        return path
    committed = _committed(path)
    if not committed:
        raise CheckpointError(
            f"{path} holds no committed checkpoint. Expected {CHECKPOINTS_NAME}/step-* in it, or "
            f"{MANIFEST_NAME} itself. Train the stage first, or give another path.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    _require_whole(committed[0])
    return committed[0]


def read_checkpoint(path: Path) -> Checkpoint:
    """Verify a checkpoint (or the newest of a run) and read all of it but its tensors.

    Raises:
        CheckpointError: if it is missing (66) or broken (65).
    """
    folder = resolve_checkpoint(path)
    try:
        manifest = read_manifest(folder)
        names = [n for n in manifest.files if n != STATE_NAME and not n.endswith(".safetensors")]
        return Checkpoint(
            path=folder,
            step=manifest.step,
            state=json.loads((folder / STATE_NAME).read_text(encoding="utf-8")),
            texts={name: (folder / name).read_text(encoding="utf-8") for name in names},
            frozen_sha256=manifest.frozen_sha256,
        )
    except FileNotFoundError as error:
        raise deleted(folder) from error


def deleted(folder: Path) -> CheckpointError:
    """Build the error of a checkpoint that was there, and that its run then deleted (66)."""
    return CheckpointError(
        f"{folder} was deleted while it was read. It must stay until then: a run that goes on "
        "keeps its newest training.keep_checkpoints. Give the same command again, or raise that.",
        exit_code=ExitCode.MISSING_INPUT,
    )


def _committed(run_dir: Path) -> list[Path]:
    """List the run's checkpoints, newest first, whole or not."""
    return sorted((run_dir / CHECKPOINTS_NAME).glob("step-[0-9]*"), reverse=True)


def _load(path: Path, *, below: str = "") -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(below)]  # noqa: SIM118 - no dict
            return {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise deleted(path.parent) from error


def _set_aside(folder: Path, *, fault: str) -> None:
    broken = folder.with_name(f"broken-{folder.name}")
    number = 1
    while broken.exists():
        number += 1
        broken = folder.with_name(f"broken-{folder.name}-{number}")
    try:
        folder.rename(broken)
    except FileNotFoundError:
        return  # another process deleted it, or set it aside, in the meantime
    _LOGGER.warning("broken checkpoint set aside path=%s fault=%s", broken, fault)


def _require_whole(folder: Path) -> None:
    fault = find_fault(folder)
    if fault is not None:
        if not folder.is_dir():  # to hash it takes minutes; a run that goes on deletes meanwhile
            raise deleted(folder)
        others = [path for path in _committed(folder.parent.parent) if path != folder]
        whole = next((path for path in others if find_fault(path) is None), None)
        mend = f"Give the path of a whole one: {whole}." if whole else "Train the run anew."
        raise CheckpointError(
            f"{folder} is broken: {fault}. Expected the files that its {MANIFEST_NAME} lists. "
            f"{mend}"
        )


def _verified_frozen(checkpoint: Checkpoint) -> Path:
    frozen = checkpoint.path.parent.parent / FROZEN_NAME
    if not (frozen / MANIFEST_NAME).is_file():
        raise CheckpointError(
            f"The frozen weights {frozen} are missing. The checkpoint {checkpoint.path} needs "
            "them. Keep a checkpoint inside its run folder, and give the path there.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    _require_whole(frozen)
    if hash_file(frozen / MANIFEST_NAME) != checkpoint.frozen_sha256:
        raise CheckpointError(
            f"The frozen weights {frozen} are not those that {checkpoint.path} was trained with. "
            "Give the checkpoint in its own run folder."
        )
    return frozen
