"""A folder that exists whole or not at all.

Source: POSIX rename(2): atomic within one file system.
Limits: a process that is killed leaves its `.partial-*` folder beside; it is never read.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phiray.errors import DataError, ExitCode, exit_code_of

_ALREADY_THERE = (errno.EEXIST, errno.ENOTEMPTY)


@contextmanager
def whole_folder(folder: Path, *, setting: str) -> Iterator[Path]:
    """Give a folder to write into; it becomes `folder` at the end, or vanishes on any error.

    If another process made `folder` in the meantime, its own stays.

    Args:
        folder: what it shall be called.
        setting: full name of the setting that chooses the place, for the error.

    Raises:
        DataError: if it cannot be written: disk full (74), forbidden (77), else 73.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".partial-{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise error_from_write(folder, error, setting=setting) from error
    try:
        yield partial
        _sync(partial)
        _rename(partial, folder)
    except OSError as error:
        raise error_from_write(folder, error, setting=setting) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already where the rename went well


def _sync(partial: Path) -> None:
    """Put files and their names on the disk before the rename makes them count."""
    for path in [*sorted(partial.iterdir()), partial]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(partial: Path, folder: Path) -> None:
    try:
        partial.rename(folder)
    except OSError as error:
        if error.errno not in _ALREADY_THERE:
            raise


def error_from_write(path: Path, error: OSError, *, setting: str) -> DataError:
    """Explain a failed write: disk full (74), forbidden (77), else 73.

    Args:
        path: what could not be written.
        error: why.
        setting: full name of the setting that chooses the place.
    """
    return DataError(
        f"{path} cannot be written: {error.strerror}. Expected room and the right to write in "
        f"{path.parent}. Make both, or set {setting} to another place.",
        exit_code=exit_code_of(error) or ExitCode.CANNOT_CREATE,
    )
