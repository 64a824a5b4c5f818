import errno
import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from phiray.checkpoints.files import (
    error_from_write,
    hash_file,
    write_json,
    write_tensors,
    write_text,
)
from phiray.errors import ExitCode


def test_write_text_replaces_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_write_json_gives_equal_bytes_for_equal_values(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"x": 1, "y": 2})
    write_json(tmp_path / "b", {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_write_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a", {"x": float("nan")})


def test_write_tensors_keeps_slices_of_one_memory(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    named = {"a": whole[0], "b": whole[1:], "t": whole.T, "n": torch.zeros(()), "e": whole[:0]}
    write_tensors(tmp_path / "x.safetensors", named)
    for name, tensor in load_file(tmp_path / "x.safetensors").items():
        torch.testing.assert_close(tensor, named[name], rtol=0, atol=0)


def test_hash_file_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"phi")
    assert hash_file(path) == hashlib.sha256(b"phi").hexdigest()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ExitCode.IO),
        (SafetensorError("I/O error: No space left on device (os error 28)"), ExitCode.IO),
        (OSError(errno.EACCES, "Permission denied"), ExitCode.PERMISSION),
        (OSError(errno.EROFS, "Read-only file system"), ExitCode.CANNOT_CREATE),
        (OSError(errno.EIO, "Input/output error"), ExitCode.IO),
    ],
)
def test_error_from_write_has_the_exit_code_of_its_cause(
    error: OSError | SafetensorError, code: ExitCode
) -> None:
    found = error_from_write(error, what="The thing", path=Path("run"))
    assert found.exit_code == code
    assert "The thing could not be written to run" in found.message
