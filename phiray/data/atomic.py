"""A folder that exists whole or not at all.

Source: POSIX rename(2): atomic within one file system; flock(2), which ends with its process.
Limits: a process that is killed leaves its `.partial-*` folder beside, which is never read, or gone
on with. A folder that replaces another is missing for a moment, since POSIX cannot exchange two.
"""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phiray.errors import DataError, ExitCode, exit_code_of
from phiray.types import Progress

_ALREADY_THERE = (errno.EEXIST, errno.ENOTEMPTY)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system says that has no locks."""
_LOCK = "lock"
_POLL_SECONDS = 0.2


@contextmanager
def whole_folder(folder: Path, *, setting: str | None, replace: bool = False) -> Iterator[Path]:
    """Give a folder to write into; it becomes `folder` at the end, or vanishes on any error.

    Args:
        folder: what it shall be called.
        setting: full name of the setting that chooses the place, for the error; none if none does.
        replace: whether a `folder` that is there already makes room; else it stays, since another
            process has made the same.

    Raises:
        DataError: if it cannot be written: disk full (74), forbidden (77), else 73.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        around = Path(tempfile.mkdtemp(prefix=f".partial-{folder.name}-", dir=folder.parent))
        partial = around / folder.name  # with the rights of any new folder; those above are private
        partial.mkdir()
    except OSError as error:
        raise error_from_write(folder, error, setting=setting) from error
    try:
        yield partial
        _sync(partial)
        if replace and folder.is_dir():
            _exchange(partial, folder, old=around / "replaced")
        else:
            _rename(partial, folder)
    except OSError as error:
        raise error_from_write(folder, error, setting=setting) from error
    finally:
        shutil.rmtree(around, ignore_errors=True)


@contextmanager
def resumable_folder(
    folder: Path, *, setting: str | None, progress: Progress | None = None
) -> Iterator[Path]:
    """Give a place to work in, the same at each attempt; its inner folder becomes `folder`.

    An attempt that ends in an error, or is killed, leaves it for the next one. Of several processes
    one works; the others wait, and must then look whether `folder` is there.

    Args:
        folder: what it shall be called. One that is there already stays.
        setting: full name of the setting that chooses the place, for the error; none if none does.
        progress: told while another process works.

    Yields:
        The place. In it lies a folder called `folder.name`, which becomes `folder` at the end.

    Raises:
        DataError: if it cannot be written: disk full (74), forbidden (77), else 73.
    """
    place = folder.with_name(f".partial-{folder.name}")
    try:
        lock = _lock(place, progress=progress)
    except OSError as error:
        raise error_from_write(folder, error, setting=setting) from error
    try:
        partial = place / folder.name
        partial.mkdir(exist_ok=True)
        yield place
        _sync(partial)
        _rename(partial, folder)
        shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        raise error_from_write(folder, error, setting=setting) from error
    finally:
        os.close(lock)  # which unlocks


def _lock(place: Path, *, progress: Progress | None) -> int:
    """Make a place for this process alone, waiting for others; return what holds it."""
    has_waited = False
    while True:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            continue  # another process has just finished, and took its place away
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_mine = False
        except OSError as error:
            is_mine = error.errno in _NO_LOCKS
            if not is_mine:
                os.close(lock)
                raise
        else:
            is_mine = _is_still(place / _LOCK, lock)  # or it went with a place that is finished
        if progress is not None and (has_waited or not is_mine):
            progress("wait for another process", int(is_mine), 1)
        if is_mine:
            return lock
        os.close(lock)
        has_waited = True
        time.sleep(_POLL_SECONDS)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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


def _exchange(partial: Path, folder: Path, *, old: Path) -> None:
    """Move the folder that is there aside; between the two renames there is none."""
    folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        old.rename(folder)
        raise


def error_from_write(path: Path, error: OSError, *, setting: str | None) -> DataError:
    """Explain a failed write: disk full (74), forbidden (77), else 73.

    Args:
        path: what could not be written.
        error: why.
        setting: full name of the setting that chooses the place; none if none does.
    """
    otherwise = f", or set {setting} to another place" if setting else ""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return DataError(
            f"{path} cannot be made: a file is in its way. Expected a folder, or a free name. Move "
            f"the file{otherwise}.",
            exit_code=ExitCode.CANNOT_CREATE,
        )
    return DataError(
        f"{path} cannot be written: {error.strerror}. Expected room and the right to write in "
        f"{path.parent}. Make both{otherwise}.",
        exit_code=exit_code_of(error) or ExitCode.CANNOT_CREATE,
    )
