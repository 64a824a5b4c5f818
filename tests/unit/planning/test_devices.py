from pathlib import Path

import pytest

from phiray.errors import ConfigError, ExitCode
from phiray.planning.devices import read_devices


def test_built_in_table_is_read() -> None:
    devices = read_devices()
    assert devices["H100"].flops_per_second(is_bf16=True) == 989e12
    assert devices["T4"].flops_per_second(is_bf16=True) == 0


def test_table_of_ones_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "devices:\n"
        "  - {name: X, memory_gib: 8, bf16_tflops: 1, fp32_tflops: 0.5, usd_per_hour: 0}\n"
    )
    assert list(read_devices(path)) == ["X"]


def test_missing_table_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist\. It must be a table of GPUs") as caught:
        read_devices(tmp_path / "none.yaml")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: []", "devices: List should have at least 1 item"),
        ("devices:\n  - {name: X}", r"devices\.0\.memory_gib: Field required"),
        ("gpus: []", "gpus: Extra inputs are not permitted|devices: Field required"),
    ],
)
def test_wrong_table_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_devices(path)
