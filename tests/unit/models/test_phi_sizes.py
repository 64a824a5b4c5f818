import subprocess
import sys
from pathlib import Path

import pytest

from phiray.errors import CheckpointError, ExitCode
from phiray.models.phi_sizes import is_phi_folder, read_phi_sizes


def test_sizes_are_read_without_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "phi", "hidden_size": 320}')
    assert is_phi_folder(tmp_path)
    assert read_phi_sizes(tmp_path).hidden_size == 320
    code = "import sys, phiray.models.phi_sizes; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_folder_without_a_config_is_missing_input(tmp_path: Path) -> None:
    assert not is_phi_folder(tmp_path)
    with pytest.raises(CheckpointError, match=r"config\.json is missing") as caught:
        read_phi_sizes(tmp_path)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_config_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        read_phi_sizes(tmp_path)
