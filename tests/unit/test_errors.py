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
