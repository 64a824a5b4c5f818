import errno
import json

import pytest

from phiray.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    DataError,
    ExitCode,
    PhirayError,
    ShapeError,
    error_from_payload,
    exit_code_of,
    payload_from_error,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ConfigError, 78),
        (DataError, 65),
        (CheckpointError, 65),
        (ShapeError, 78),
        (ClusterError, 69),
    ],
)
def test_each_kind_of_error_has_its_exit_code(kind: type[PhirayError], code: int) -> None:
    assert kind("x is 1").exit_code == code
    assert kind("x is 1", exit_code=ExitCode.IO).exit_code == 74
    assert kind("x is 1").exit_code == code, "an override stays with its own error"


def test_error_keeps_message_and_code_across_json() -> None:
    error = DataError("file is missing", exit_code=ExitCode.MISSING_INPUT)
    again = error_from_payload(json.loads(json.dumps(payload_from_error(error))))
    assert (str(again), again.exit_code) == ("file is missing", ExitCode.MISSING_INPUT)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, 74),
        (errno.EDQUOT, 74),
        (errno.EFBIG, 74),
        (errno.EIO, 74),
        (errno.EROFS, 73),
        (errno.EACCES, 77),
        (errno.EPERM, 77),
        (errno.ENOENT, None),
        (None, None),
    ],
)
def test_what_a_machine_refuses_has_an_exit_code(number: int | None, code: int | None) -> None:
    error = OSError("broken") if number is None else OSError(number, "why")
    assert exit_code_of(error) == code
