"""Look at this machine: what is installed, which devices, memory, disk, limits, Ray's token.

Source: AF_UNIX paths end at 107 characters (Linux, unix(7)); the memory is the demo's peak.
Limits: starts no Ray and downloads nothing; asks this process's machine only.
"""

import platform
import resource
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil
import torch
from packaging.requirements import Requirement

from phiray.node import num_cores
from phiray.runtime import token_path

GIB = 1024**3
MIN_PYTHON = (3, 11)
MIN_MEMORY_BYTES = 6 * GIB
"""Free memory below which the demo may be killed."""
MIN_DISK_BYTES = 5 * GIB
"""Free disk for runs and Ray's session, whose log and spill folders stop a run at 95 % use."""
MIN_OPEN_FILES = 1024
"""Ray opens several sockets for each worker."""
MAX_TEMPORARY_PATH = 40
"""Ray appends up to 67 characters to the temporary folder for its sockets, of 107 allowed."""
PRIVATE_MODE = 0o600
CGROUP_LIMIT_FILE = Path("/sys/fs/cgroup/memory.max")
"""A number of bytes, or `max`, where a container has a control group (version 2) of its own."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    found: str
    mend: str | None = None
    """What to do; none if it is fine."""


def check_machine(folder: Path) -> list[Check]:
    """Look at everything that a run in `folder` needs."""
    temporary = Path(tempfile.gettempdir())
    return [
        _check_python(),
        *check_packages("phiray"),
        _check_torch_pair(),
        _check_gpu(),
        Check("CPU cores", str(num_cores())),
        _check_memory(available_memory(psutil.virtual_memory().available)),
        _check_disk("disk", folder, shutil.disk_usage(folder).free),
        _check_disk("temporary folder", temporary, shutil.disk_usage(temporary).free),
        check_temporary_path(temporary),
        _check_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        check_token(token_path()),
    ]


def check_packages(distribution: str) -> list[Check]:
    """Compare each requirement of an installed distribution with what is there."""
    try:
        lines = requires(distribution) or []
    except PackageNotFoundError:
        mend = "Install it: pip install -e . --no-deps (or run `make demo`)."
        return [Check(distribution, "not installed, run from its folder", mend)]
    wanted = [Requirement(line) for line in lines]
    return [_check_package(item) for item in wanted if not item.marker or item.marker.evaluate()]


def check_token(path: Path) -> Check:
    """Refuse a token that others may read: it is the only lock on an embedded Ray."""
    name = "Ray token"
    if not path.exists():
        return Check(name, "none yet; phiray makes one when it first starts Ray")
    mode = stat.S_IMODE(path.stat().st_mode)
    found = f"{path}, mode {mode:04o}"
    if mode & ~PRIVATE_MODE:
        return Check(name, found, f"Others may read it. Run: chmod 600 {path}")
    return Check(name, found)


def check_temporary_path(path: Path) -> Check:
    """Refuse a temporary folder whose name leaves no room for Ray's sockets."""
    found, name = f"{len(str(path))} characters", "temporary path"
    if len(str(path)) > MAX_TEMPORARY_PATH:
        mend = f"Set TMPDIR to a folder of at most {MAX_TEMPORARY_PATH} characters, e.g. /tmp."
        return Check(name, found, mend)
    return Check(name, found)


def available_memory(free: int, *, limit_file: Path = CGROUP_LIMIT_FILE) -> int:
    """Return the bytes that this process may still take: in a container, at most its limit."""
    try:
        text = limit_file.read_text().strip()
    except OSError:
        return free  # no control groups, or the older kind
    return min(free, int(text)) if text.isdecimal() else free


def _check_python() -> Check:
    wanted = ".".join(str(part) for part in MIN_PYTHON)
    found = f"{platform.python_version()} at {sys.executable}"
    is_fine = sys.version_info >= MIN_PYTHON
    return Check("Python", found, None if is_fine else f"Use Python {wanted} or later.")


def _check_package(wanted: Requirement) -> Check:
    mend = f"Run: pip install '{wanted.name}{wanted.specifier}'"
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Check(wanted.name, "not installed", mend)
    is_fine = wanted.specifier.contains(found, prereleases=True)
    return Check(wanted.name, found, None if is_fine else mend)


def _check_torch_pair() -> Check:
    """Compare torch with the release that the installed torchvision was built for."""
    name = "torch and torchvision"
    try:
        lines = requires("torchvision") or []
        found = version("torch")
    except PackageNotFoundError:
        return Check(name, "not both installed", "Run: pip install torch torchvision")
    wanted = next((item for item in map(Requirement, lines) if item.name == "torch"), None)
    if wanted and not wanted.specifier.contains(found, prereleases=True):
        mend = "They do not fit. Install both from one place: pip install torch torchvision"
        return Check(name, f"torch {found}, torchvision wants {wanted.specifier}", mend)
    return Check(name, "fit")


def _check_gpu() -> Check:
    if not torch.cuda.is_available():
        return Check("GPU", "none: stages run on the CPU, which the preset `tiny` is made for")
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Check("GPU", ", ".join(f"{d.name} {d.total_memory / GIB:.0f} GiB" for d in found))


def _check_memory(available: int) -> Check:
    wanted = MIN_MEMORY_BYTES // GIB
    mend = f"The demo wants {wanted} GiB. Close other programs, or use --workers 1."
    is_fine = available >= MIN_MEMORY_BYTES
    return Check("free memory", f"{available / GIB:.1f} GiB", None if is_fine else mend)


def _check_disk(name: str, folder: Path, free: int) -> Check:
    mend = f"Free space until {MIN_DISK_BYTES // GIB} GiB are there, or use another disk."
    found = f"{free / GIB:.1f} GiB free at {folder.absolute()}"
    return Check(name, found, None if free >= MIN_DISK_BYTES else mend)


def _check_open_files(limit: int) -> Check:
    is_fine = limit == resource.RLIM_INFINITY or limit >= MIN_OPEN_FILES
    mend = f"Run: ulimit -n {MIN_OPEN_FILES}"
    return Check("open files allowed", str(limit), None if is_fine else mend)
