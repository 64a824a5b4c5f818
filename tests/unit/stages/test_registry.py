import subprocess
import sys

import pytest

from phiray.config.stages import STAGES
from phiray.stages.registry import stage_module

HEAVY = ("open_clip", "litgpt", "transformers")


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_its_file(stage: str) -> None:
    module = stage_module(stage)
    assert callable(module.prepare)
    assert callable(module.build)


def test_text_stages_load_no_other_stages_libraries() -> None:
    code = (
        "import sys; from phiray.stages.registry import stage_module;"
        "stage_module('scratch'); stage_module('litgpt');"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.strip() == "[]"
