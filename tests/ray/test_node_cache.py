"""Two nodes with caches of their own over one storage: fetched, verified, fetched again.

Takes two to three minutes, so it runs by `pytest -m cluster` alone.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from phiray.config.data import TextDataConfig
from phiray.config.stages import AnyStageConfig
from phiray.config.training import ClusterConfig
from phiray.data.image_rows import ImageRows
from phiray.data.order import OrderSettings, rank_positions
from phiray.data.prepare import cut
from phiray.data.prepare.text import prepare_text
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.stages.registry import stage_module
from phiray.training.metrics_log import METRICS_NAME
from tests.ray.run_builders import (
    LOSS,
    Inputs,
    build_align,
    build_scratch,
    read_lines,
    shared_out,
)
from tests.stage_builders import train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
STEPS = 6
"""Few enough for two workers to read different images."""
PATIENCE_SECONDS = 400
SHARD_BYTES = 1500
"""Of text: two shards, so large that each worker reads rows of both."""
RELATIVE_TOLERANCE = 1e-5


def two_workers(config: AnyStageConfig) -> AnyStageConfig:
    """Set a folder that no node may use, since each names its own."""
    config = shared_out(config, workers=2, accumulation=1)
    split = config.data.split.model_copy(update={"validation_fraction": 0.0})
    data = {"split": split, "node_cache": f"{config.run.output_dir}/not-this"}
    training = config.training.model_copy(update={"max_steps": STEPS})
    return config.model_copy(
        update={"training": training, "data": config.data.model_copy(update=data)}
    )


def at_url(config: AnyStageConfig) -> AnyStageConfig:
    """Let images, captions and tokenizer come through fsspec."""
    data = config.data.model_copy(update={"root": f"file://{config.data.root}"})
    return config.model_copy(update={"data": data})


def by_path(config: AnyStageConfig, world: Path) -> AnyStageConfig:
    """Read the files where they lie."""
    data = config.data.model_copy(update={"node_cache": None, "root": str(world)})
    return config.model_copy(update={"data": data})


def train_here(config: AnyStageConfig, runs: Path) -> Path:
    """Train in this process; return the folder of the run."""
    run = config.run.model_copy(update={"output_dir": str(runs)})
    update: dict[str, object] = {"cluster": ClusterConfig(), "run": run}
    return train(config.model_copy(update=update)).run_dir


def images_of_ranks(config: AnyStageConfig) -> list[set[str]]:
    """Return the hashes of the images that each worker reads."""
    rows = stage_module(config.stage).build(config).source
    assert isinstance(rows, ImageRows)
    order = OrderSettings(config.run.seed, rows.num_rows, config.training.global_batch_size)
    found = []
    for rank in range(2):
        positions = rank_positions(
            order, rank=rank, world=2, accumulation=1, start_step=0, num_steps=STEPS
        )
        images = rows.read(positions.reshape(-1))["image"].to_pylist()
        found.append({hashlib.sha256(image).hexdigest() for image in images if image is not None})
    return found


def check_same_losses(config: AnyStageConfig, whole: Path) -> None:
    found, wanted = (read_lines(folder / METRICS_NAME) for folder in (run_folder(config), whole))
    assert [sorted(r["row_ids"]) for r in found] == [sorted(r["row_ids"]) for r in wanted]
    losses = [torch.tensor([r[LOSS] for r in records]).double() for records in (found, wanted)]
    assert len(losses[0]) == STEPS
    torch.testing.assert_close(losses[0], losses[1], rtol=RELATIVE_TOLERANCE, atol=0)


def test_each_node_fetches_what_its_worker_reads_and_mends_what_is_damaged(
    inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = two_workers(build_scratch(inputs, tmp_path / "shards"))
    data = scratch.data.model_copy(update={"prepared": str(tmp_path / "prepared")})
    assert isinstance(data, TextDataConfig)
    scratch = scratch.model_copy(update={"data": data})
    monkeypatch.setattr(cut, "MIN_BYTES", SHARD_BYTES)
    shards = {shard.sha256 for shard in prepare_text(data).read_layout().shards}
    assert len(shards) == 2
    align = at_url(two_workers(build_align(inputs, tmp_path / "images")))
    configs = [
        config.model_copy(update={"run": config.run.model_copy(update={"name": name})})
        for config in (scratch, align)
        for name in ("first", "again")
    ]
    files = []
    for number, config in enumerate(configs):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(config_yaml(config))
    out = tmp_path / "told.json"
    words = ["-m", "tests.ray.node_cache_run", str(tmp_path / "nodes"), str(out), *map(str, files)]

    subprocess.run([sys.executable, *words], timeout=PATIENCE_SECONDS, check=True)

    told = json.loads(out.read_text())
    runs = told["runs"]
    for run in runs:
        assert sorted(run["node_of_rank"]) == [0, 1]
    for run in runs[:2]:
        assert run["held"] == [{shard: shard for shard in shards}] * 2
        assert run["damaged"] in shards
    images = images_of_ranks(by_path(align, inputs.world))
    assert images[0] != images[1]
    expected: list[set[str]] = [set(), set()]
    for run in runs[2:]:
        for rank, node in enumerate(run["node_of_rank"]):
            expected[node] |= images[rank]
        for held, read in zip(run["held"], expected, strict=True):
            wrong = [name for name in shards if held.pop(name) != name]
            assert wrong == [runs[1]["damaged"]]  # and nobody read it again
            assert all(name.endswith(sha256) for name, sha256 in held.items())
            assert set(held.values()) == read
    for damaged in (runs[0]["damaged"], runs[2]["damaged"]):
        lines = [line for line in told["log"] if "node_cache_damaged" in line and damaged in line]
        assert lines
        for node in "01":
            assert any(f"/nodes/{node}/" in line for line in lines)
    assert not list(tmp_path.glob("*/not-this"))
    for config in configs:
        whole = train_here(by_path(config, inputs.world), tmp_path / "whole" / config.stage)
        check_same_losses(config, whole)
