"""Write files so that a crash leaves either the old or the new one, and say plainly why it failed.

Source: POSIX rename is atomic within a file system; the order write, fsync, rename, fsync of the
folder follows the commit protocol of ALICE (Pillai et al., OSDI 2014).
Limits: local and NFS-like file systems; object stores have no rename.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from phiray.errors import FULL_DISK, CheckpointError, ExitCode, exit_code_of

_FULL_DISK_TEXTS = ("os error 28", "os error 122", "os error 27")
"""How safetensors words ENOSPC, EDQUOT and EFBIG: its errors carry no number."""


def sync_path(path: Path) -> None:
    """Force a file or a folder to stable storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replace a text file at once: a reader sees the old text or the new one, never a part."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        sync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_path(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write plain JSON with sorted keys, so that equal values give equal bytes."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write one safetensors file and force it to storage.

    Args:
        path: a new file.
        tensors: any shapes and dtypes, on any device; copied to memory that nothing else shares.
    """
    owned: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().to("cpu").contiguous()
        storage = plain.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory, e.g. two slices of one stack of experts
        owned[name] = plain.clone() if storage in seen else plain
        seen.add(storage)
    save_file(owned, path)
    sync_path(path)


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_folder(path: Path) -> None:
    """Delete a folder that was renamed away before, so that a crash here shows no half folder."""
    shutil.rmtree(path, ignore_errors=True)


def error_from_write(error: OSError | SafetensorError, *, what: str, path: Path) -> CheckpointError:
    """Explain a failed write, with the exit code of its cause."""
    number = error.errno if isinstance(error, OSError) else None
    text = str(error)
    if number in FULL_DISK or any(mark in text for mark in _FULL_DISK_TEXTS):
        return CheckpointError(
            f"{what} could not be written to {path}: no space is left ({text}). What was committed "
            "before is intact. Free some space, then start again with --resume.",
            exit_code=ExitCode.IO,
        )
    code = exit_code_of(error) if isinstance(error, OSError) else None
    if code in (ExitCode.PERMISSION, ExitCode.CANNOT_CREATE):
        return CheckpointError(
            f"{what} could not be written to {path}: {text}. The folder must be writable for this "
            "user. Change its rights, or choose another one with --set run.output_dir=DIR.",
            exit_code=code,
        )
    return CheckpointError(
        f"{what} could not be written to {path}: {text}. What was committed before is intact. "
        "Check the disk, then start again with --resume.",
        exit_code=ExitCode.IO,
    )
