"""List the files of a committed folder with size and sha256, and check them.

Source: no tensor format notices a flipped bit by itself, safetensors included, so each file is
hashed (measured: one flipped bit loads without a word from safetensors, torch.save and DCP).
Limits: guards against accidents, not against somebody who also rewrites the manifest.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from phiray.checkpoints.files import hash_file, write_json

MANIFEST_NAME = "MANIFEST.json"
FORMAT = 1
"""Number of this layout; raised when files move or change their meaning."""


@dataclass(frozen=True)
class FileEntry:
    """What one file must be."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a committed folder holds."""

    step: int
    attempt: int
    frozen_sha256: str | None
    """sha256 of the manifest of the frozen weights that belong to it; none without any."""
    files: dict[str, FileEntry]


def write_manifest(folder: Path, *, step: int, attempt: int, frozen_sha256: str | None) -> None:
    """Hash every file of a folder and write its manifest; equal files give equal bytes."""
    paths = sorted(path for path in folder.iterdir() if path.name != MANIFEST_NAME)
    entries = {path.name: FileEntry(path.stat().st_size, hash_file(path)) for path in paths}
    manifest = Manifest(step=step, attempt=attempt, frozen_sha256=frozen_sha256, files=entries)
    write_json(folder / MANIFEST_NAME, {"format": FORMAT, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest.

    Raises:
        OSError, ValueError, KeyError, TypeError: if there is none, or it is torn.
    """
    value = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
    if value["format"] != FORMAT:
        raise ValueError(f"format is {value['format']}, but this phiray reads {FORMAT}")
    outside = [name for name in value["files"] if Path(name).name != name]
    if outside:
        raise ValueError(f"the name {outside[0]!r} leaves the folder")
    return Manifest(
        step=int(value["step"]),
        attempt=int(value["attempt"]),
        frozen_sha256=value["frozen_sha256"],
        files={name: FileEntry(**entry) for name, entry in value["files"].items()},
    )


def find_fault(folder: Path) -> str | None:
    """Check a folder against its manifest; return what is wrong, or None if it is whole."""
    try:
        manifest = read_manifest(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST_NAME} cannot be read ({type(error).__name__}: {error})"
    for name, entry in manifest.files.items():
        try:
            fault = _fault_of(folder / name, entry)
        except FileNotFoundError:  # or deleted at this moment, by a run that goes on
            fault = f"{name} is missing"
        if fault is not None:
            return fault
    return None


def _fault_of(path: Path, entry: FileEntry) -> str | None:
    num_bytes = path.stat().st_size
    if num_bytes != entry.num_bytes:
        return f"{path.name} has {num_bytes} bytes, not {entry.num_bytes}"
    if hash_file(path) != entry.sha256:
        return f"{path.name} does not have the sha256 of the manifest"
    return None
