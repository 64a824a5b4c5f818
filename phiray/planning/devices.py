"""The GPUs that a plan reckons with: memory, speed and price, from a table that users may edit.

Source: `devices.yaml` beside this file; its first lines say where the numbers come from.
Limits: one price per GPU; no disks, no network, no CPUs.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from phiray.config.base import Config
from phiray.config.yaml_text import decode_yaml, parse_yaml
from phiray.errors import ConfigError, ExitCode

BUILT_IN = Path(__file__).with_name("devices.yaml")


class Device(Config):
    """One kind of GPU."""

    name: str
    """What `--device` calls it."""
    memory_gib: float = Field(gt=0)
    """Memory that a program finds, in GiB."""
    bf16_tflops: float = Field(ge=0)
    """Dense tensor products in bfloat16; 0 if it has none."""
    fp32_tflops: float = Field(gt=0)
    """Products in fp32, without TF32."""
    usd_per_hour: float = Field(ge=0)
    """Price of one."""

    def flops_per_second(self, *, is_bf16: bool) -> float:
        """Return its peak, 0 if it cannot compute so."""
        return (self.bf16_tflops if is_bf16 else self.fp32_tflops) * 1e12


class DeviceTable(Config):
    """All of them."""

    devices: list[Device] = Field(min_length=1)
    """In any order."""


def read_devices(path: Path | None = None) -> dict[str, Device]:
    """Read a table of GPUs by name; the built-in one if none is given.

    Raises:
        ConfigError: 66 if the file is missing, 78 if it is no such table.
    """
    path = path or BUILT_IN
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist. It must be a table of GPUs such as {BUILT_IN}. Copy that one.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    tree = parse_yaml(decode_yaml(path.read_bytes(), origin=str(path)), origin=str(path)).value
    try:
        table = DeviceTable.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path}: {place}: {first['msg']}. Expected the form of {BUILT_IN}. Correct it."
        ) from error
    return {device.name: device for device in table.devices}
