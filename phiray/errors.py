"""The errors that a user can mend, each with the exit code of its kind.

Source: exit codes follow BSD sysexits.h; POSIX errno for what a machine refuses.
Limits: a fault of phiray itself is any other exception; it keeps its traceback and exits with 1.
"""

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller."""

    OK = 0
    FAULT = 1
    USAGE = 2
    BAD_DATA = 65
    MISSING_INPUT = 66
    NO_CLUSTER = 69
    UNAVAILABLE = 69  # one number for both: a service that does not serve
    CANNOT_CREATE = 73
    IO = 74
    RESUMABLE = 75
    PERMISSION = 77
    BAD_CONFIG = 78
    INTERRUPTED = 130
    TERMINATED = 143


FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of an OSError that room on the disk, or in the user's share of it, would mend."""
_OS_EXIT_CODES = {
    **dict.fromkeys(FULL_DISK, ExitCode.IO),
    errno.EIO: ExitCode.IO,
    errno.EROFS: ExitCode.CANNOT_CREATE,
    errno.EACCES: ExitCode.PERMISSION,
    errno.EPERM: ExitCode.PERMISSION,
}


def exit_code_of(error: OSError) -> ExitCode | None:
    """Return the exit code of a fault of the machine that a user can mend; none for any other."""
    return _OS_EXIT_CODES.get(error.errno) if error.errno is not None else None


class PhirayError(Exception):
    """Say in one short paragraph: the value, what was expected, what to do."""

    exit_code = ExitCode.FAULT

    def __init__(self, message: str, *, exit_code: ExitCode | None = None) -> None:
        """Keep the message; `exit_code` overrides that of the class."""
        super().__init__(message)
        self.message = message
        if exit_code is not None:
            self.exit_code = exit_code


class ConfigError(PhirayError):
    """A setting is wrong or contradicts another."""

    exit_code = ExitCode.BAD_CONFIG


class DataError(PhirayError):
    """Input data is missing (66) or broken (65, the default)."""

    exit_code = ExitCode.BAD_DATA


class FetchError(PhirayError):
    """A download cannot go on; 75, the default, if the same command may go on later."""

    exit_code = ExitCode.RESUMABLE


class CheckpointError(PhirayError):
    """A checkpoint or run folder is missing, broken, or another run's."""

    exit_code = ExitCode.BAD_DATA


class ShapeError(PhirayError):
    """A tensor does not have the shape that the model was built for."""

    exit_code = ExitCode.BAD_CONFIG


class ClusterError(PhirayError):
    """Ray cannot be reached, or cannot give what the run asks for."""

    exit_code = ExitCode.NO_CLUSTER


def error_from_payload(payload: dict[str, object]) -> PhirayError:
    """Rebuild an error that crossed a process boundary as plain JSON."""
    return PhirayError(str(payload["message"]), exit_code=ExitCode(int(str(payload["exit_code"]))))


def payload_from_error(error: PhirayError) -> dict[str, object]:
    """Turn an error into plain JSON, so that no class is unpickled on the other side."""
    return {"message": error.message, "exit_code": int(error.exit_code)}
