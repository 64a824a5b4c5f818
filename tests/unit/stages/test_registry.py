import math
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

from phiray.config.stages import STAGES, AnyStageConfig
from phiray.config.training import MethodConfig, ScheduledSamplingMethod, StandardMethod
from phiray.stages.registry import stage_module
from phiray.training.metrics_log import read_metrics
from tests.stage_builders import (
    CPU,
    STEPS,
    Trained,
    align_config,
    changed_names,
    instruct_config,
    litgpt_config,
    scratch_config,
    train,
)

HEAVY = ("open_clip", "litgpt", "transformers")
EXACT = ScheduledSamplingMethod(rollout="exact", start=0.5, end=0.2)
PARALLEL = ScheduledSamplingMethod(rollout="parallel", num_passes=2, start=0.5, end=0.2)
RUNS = [
    pytest.param("scratch", StandardMethod(), id="scratch"),
    pytest.param("litgpt", StandardMethod(), id="litgpt"),
    pytest.param("align", StandardMethod(), id="align"),
    pytest.param("align", EXACT, id="align-exact"),
    pytest.param("instruct", StandardMethod(), id="instruct"),
    pytest.param("instruct", PARALLEL, id="instruct-parallel"),
]


@pytest.fixture
def configs(
    world: Path, tmp_path: Path, clip: Path, scratch: Trained, align: Trained
) -> dict[str, AnyStageConfig]:
    """The settings of each stage, all with runs of their own."""
    return {
        "scratch": scratch_config(world, tmp_path),
        "litgpt": litgpt_config(world, tmp_path),
        "align": align_config(world, tmp_path, clip=clip, language_model=scratch.run_dir),
        "instruct": instruct_config(world, tmp_path, checkpoint=align.run_dir),
    }


def _train_on(
    device: torch.device,
    config: AnyStageConfig,
    method: MethodConfig,
    *,
    precision: Literal["fp32", "bf16"],
) -> list[float]:
    """Train a stage, look at what came out, restore it, and return the loss of each step."""
    in_precision = config.training.model_copy(update={"precision": precision})
    run = config.run.model_copy(update={"name": f"{config.run.name}-{device.type}"})
    changes: dict[str, object] = {"training": in_precision, "run": run}
    if config.stage in ("align", "instruct"):
        changes["method"] = method
    config = config.model_copy(update=changes)
    trained = train(config, device=device)
    records = read_metrics(trained.run_dir)
    losses = [float(str(record["train/loss_nats_per_token"])) for record in records]
    assert len(losses) == STEPS
    assert all(math.isfinite(loss) for loss in losses)
    replaced = [int(float(str(record["replaced_tokens"]))) for record in records]
    assert all(replaced) == (method != StandardMethod())
    parameters = dict(trained.parts.model.named_parameters())
    assert {parameter.device.type for parameter in parameters.values()} == {device.type}
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}
    changed = changed_names(trained)
    assert changed
    assert not [name for name in changed & parameters.keys() if not parameters[name].requires_grad]
    is_balanced = config.stage in ("scratch", "instruct")  # experts, with a bias
    assert any(name.endswith("router.bias") for name in changed) == is_balanced
    again = train(config, device=device).parts.model.state_dict()
    assert all(
        torch.equal(tensor, again[name])
        for name, tensor in trained.parts.model.state_dict().items()
    )
    return losses


@pytest.mark.parametrize(("stage", "method"), RUNS)
def test_every_stage_trains_and_comes_back_on_the_cpu(
    stage: str, method: MethodConfig, configs: dict[str, AnyStageConfig]
) -> None:
    _train_on(CPU, configs[stage], method, precision="fp32")


@pytest.mark.gpu
@pytest.mark.parametrize(("stage", "method"), RUNS)
def test_every_stage_trains_and_comes_back_on_a_gpu(
    stage: str, method: MethodConfig, configs: dict[str, AnyStageConfig]
) -> None:
    losses = _train_on(torch.device("cuda"), configs[stage], method, precision="bf16")
    wanted = _train_on(CPU, configs[stage], method, precision="fp32")
    assert losses[0] == pytest.approx(wanted[0], rel=0.05)


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
