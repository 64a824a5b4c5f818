"""Settings as YAML."""

from pathlib import Path

import pytest

from phiray.config.load import load_config
from phiray.config.presets import PRESETS, preset
from phiray.config.show import yaml_from_config
from phiray.config.stages import STAGES


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("comments", [True, False])
def test_yaml_from_config_reads_back_as_the_same_settings(
    tmp_path: Path, name: str, stage: str, comments: bool
) -> None:
    config = preset(name, stage)
    path = tmp_path / "run.yaml"
    path.write_text(yaml_from_config(config, comments=comments))
    assert load_config(str(path)) == config


def test_yaml_from_config_keeps_text_that_looks_like_another_type(tmp_path: Path) -> None:
    config = load_config("tiny", "align", overrides=["data.split.salt='1e-4'", "run.name='7'"])
    path = tmp_path / "run.yaml"
    path.write_text(yaml_from_config(config))
    assert load_config(str(path)) == config


def test_yaml_from_config_puts_the_help_of_a_field_above_it() -> None:
    lines = yaml_from_config(preset("tiny", "align")).splitlines()
    index = lines.index("  max_grad_norm: 1.0")
    assert lines[index - 1] == "  # Gradients are scaled down to this norm."
    precision = next(i for i, line in enumerate(lines) if line.startswith("  precision:"))
    assert lines[precision - 1].endswith("[fp32 | bf16]")
    assert max(len(line) for line in lines) <= 100
