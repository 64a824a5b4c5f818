"""One small world, and the chain of stages trained on it once for all tests of this folder."""

from pathlib import Path

import pytest
import torch

from phiray.models.clip import build_clip_model
from tests.stage_builders import (
    CLIP_CFG,
    Trained,
    align_config,
    instruct_config,
    litgpt_config,
    scratch_config,
    train,
    write_clip,
    write_world,
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build_clip_model(CLIP_CFG)
    visual = model.get_submodule("visual")
    return write_clip(tmp_path_factory.mktemp("clip"), dict(visual.state_dict()))


@pytest.fixture(scope="session")
def scratch(world: Path, runs: Path) -> Trained:
    return train(scratch_config(world, runs))


@pytest.fixture(scope="session")
def litgpt(world: Path, runs: Path) -> Trained:
    return train(litgpt_config(world, runs))


@pytest.fixture(scope="session")
def align(world: Path, runs: Path, clip: Path, scratch: Trained) -> Trained:
    config = align_config(world, runs, clip=clip, language_model=scratch.run_dir)
    return train(config)


@pytest.fixture(scope="session")
def instruct(world: Path, runs: Path, align: Trained) -> Trained:
    return train(instruct_config(world, runs, checkpoint=align.run_dir))
