"""What the tests with Ray share: one Ray, and what their runs start from, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.models.clip import build_clip_model
from phiray.runtime import ray_session
from tests.displays import SilentDisplay
from tests.ray.run_builders import Inputs, killed_config
from tests.stage_builders import (
    CLIP_CFG,
    align_config,
    scratch_config,
    train,
    write_clip,
    write_world,
)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("train")
    world, runs = write_world(root / "world"), root / "before"
    torch.manual_seed(0)
    visual = build_clip_model(CLIP_CFG).get_submodule("visual").state_dict()
    clip = write_clip(root / "clip", visual)
    language_model = train(scratch_config(world, runs)).run_dir
    aligned = train(align_config(world, runs, clip=clip, language_model=language_model)).run_dir
    return Inputs(world, clip, language_model, aligned)


@pytest.fixture(scope="package")
def shared_ray() -> Iterator[None]:
    with ray_session(num_cpus=4, dashboard=True):
        yield


@pytest.fixture(scope="package")
def undisturbed(inputs: Inputs, shared_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an `align` run of two workers with four micro-batches that nobody disturbed."""
    config = killed_config(inputs, tmp_path_factory.mktemp("undisturbed"))
    train_stage(config, resume=False, display=SilentDisplay())
    return run_folder(config)
