"""Stages that read the cache: the rows, losses and reports of stages that read pictures."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phiray.batch import Batch
from phiray.config.stages import AlignConfig, AnyStageConfig
from phiray.config.training import ScheduledSamplingMethod
from phiray.data.image_rows import ImageRows
from phiray.data.order import OrderSettings, rank_positions
from phiray.errors import CheckpointError, DataError
from phiray.features import compute, known_files, prepare, shards
from phiray.images.decode import decode_image
from phiray.jobs.features import identify_features, prepare_here, with_cached_features
from phiray.jobs.run_folder import write_manifest
from phiray.models.clip import ClipTower, build_clip_model
from phiray.models.vision_language import VisionLanguageModel
from phiray.stages.parts import StageParts, config_yaml
from phiray.stages.registry import stage_module
from phiray.stages.restore import load_model
from phiray.training.loop import VALIDATION_METRIC
from phiray.training.metrics_log import LOSS_METRIC, METRICS_NAME
from phiray.training.quarantine import QUARANTINE_NAME, read_quarantine
from tests.stage_builders import (
    CLIP_CFG,
    IMAGE_SIZE,
    Trained,
    align_config,
    instruct_config,
    scratch_config,
    train,
    write_clip,
    write_world,
)
from tests.step_reader import read_steps

BF16_TOLERANCE = 2e-4
"""Relative, of a loss: features are rounded by at most one part in 256, most by far less."""
SAMPLING = ScheduledSamplingMethod(rollout="exact", start=0.75, end=0.25)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        visual = build_clip_model(CLIP_CFG).get_submodule("visual")
    return write_clip(tmp_path_factory.mktemp("clip"), dict(visual.state_dict()))


@pytest.fixture(scope="module")
def scratch(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(scratch_config(world, tmp_path_factory.mktemp("runs"))).run_dir


@pytest.fixture
def align(world: Path, tmp_path: Path, clip: Path, scratch: Path) -> AlignConfig:
    config = align_config(world, tmp_path / "runs", clip=clip, language_model=scratch)
    training = config.training.model_copy(update={"max_steps": 4, "log_row_ids": True})
    return config.model_copy(update={"training": training})


def cached(config: AnyStageConfig, cache: Path | str, *, name: str = "cached") -> AnyStageConfig:
    data = config.data.model_copy(update={"feature_cache": str(cache)})
    run = config.run.model_copy(update={"name": name})
    return config.model_copy(update={"data": data, "run": run})


def train_cached(config: AnyStageConfig) -> Trained:
    return train(config, features=prepare_here(config, progress=None).features)


# Any: JSON of the run; each test knows the keys that it reads.
def records(trained: Trained) -> list[dict[str, Any]]:
    text = (trained.run_dir / METRICS_NAME).read_text()
    return [json.loads(line) for line in text.splitlines()]


def losses(trained: Trained, key: str = LOSS_METRIC) -> Tensor:
    return torch.tensor([r[key] for r in records(trained) if key in r], dtype=torch.float64)


def features_of(parts: StageParts) -> dict[int, Tensor]:
    """Compute each picture's features, 32 at a time in the order of the data, rounded to bf16."""
    assert isinstance(parts.model, VisionLanguageModel)
    assert isinstance(parts.source, ImageRows)
    examples = parts.source.examples
    found: dict[int, Tensor] = {}
    for start in range(0, len(examples), 32):
        part = examples[start : start + 32]
        pixels = [decode_image(e.path.read_bytes(), image_size=IMAGE_SIZE) for e in part]
        features = parts.model.vision(torch.from_numpy(np.stack(pixels))).to(torch.bfloat16)
        found |= {e.image_id: f for e, f in zip(part, features, strict=True)}
    return found


@pytest.mark.parametrize("method", ["standard", "scheduled-sampling"])
def test_cached_features_train_as_pictures_do(
    align: AlignConfig, tmp_path: Path, method: str
) -> None:
    if method == "scheduled-sampling":
        align = align.model_copy(update={"method": SAMPLING})
    split = align.data.split.model_copy(update={"validation_fraction": 0.4})
    align = align.model_copy(update={"data": align.data.model_copy(update={"split": split})})
    pictures = train(align)
    features = train_cached(cached(align, tmp_path / "cache"))
    for key in ("row_ids", "label_tokens", "bad_rows"):
        assert [r[key] for r in records(features)] == [r[key] for r in records(pictures)], key
    for key in (LOSS_METRIC, VALIDATION_METRIC):
        found, wanted = losses(features, key), losses(pictures, key)
        torch.testing.assert_close(found, wanted, rtol=BF16_TOLERANCE, atol=0)
        assert not torch.equal(found, wanted)  # else no features were rounded


def test_cached_features_give_the_losses_of_features_rounded_in_memory(
    align: AlignConfig, tmp_path: Path
) -> None:
    config = cached(align, tmp_path / "cache")
    listed = prepare_here(config, progress=None).features
    plain = stage_module("align").build(align)
    parts = with_cached_features(stage_module("align").build(config), config, features=str(listed))
    rounded = features_of(plain)
    rows = plain.source
    assert isinstance(rows, ImageRows)
    image_of_row = [e.image_id for e in rows.examples for _ in e.captions]
    order = OrderSettings(0, rows.num_rows, 4)
    positions = rank_positions(
        order, rank=0, world=1, accumulation=1, start_step=0, num_steps=rows.num_rows // 4 + 2
    )
    both = [
        read_steps(
            part.source,
            positions,
            pad_id=plain.tokenizer.pad_id,
            image_size=IMAGE_SIZE,
            feature_shape=part.feature_shape,
        )
        for part in (plain, parts)
    ]
    for step, (one, other) in enumerate(zip(both[0], both[1], strict=True)):
        (pictures,), (features,) = one.micro_batches, other.micro_batches
        ids = [image_of_row[row] for row in pictures["row_ids"].tolist() if row >= 0]
        in_memory: Batch = {**pictures, "image_features": torch.stack([rounded[i] for i in ids])}
        del in_memory["pixel_values"]
        assert in_memory.keys() == features.keys()
        for key, value in in_memory.items():
            assert torch.equal(value, dict(features)[key]), key  # type: ignore[arg-type]  # tensors
        with torch.no_grad():
            sums = [
                part.objective(batch, step)
                for part, batch in ((plain, in_memory), (parts, features))
            ]
        assert sums[0].loss_sum == sums[1].loss_sum


def test_neither_decoding_nor_the_tower_runs(
    align: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cached(align, tmp_path / "cache")
    prepared = prepare_here(config, progress=None)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it must not run")

    monkeypatch.setattr(ClipTower, "forward", refuse)
    monkeypatch.setattr("phiray.data.pixels.decode_image", refuse)
    monkeypatch.setattr("phiray.data.image_rows.row_with_image", refuse)
    trained = train(config, features=prepared.features)
    assert len(losses(trained)) == 4


def test_bad_pictures_keep_place_and_reason(clip: Path, scratch: Path, tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    config = align_config(world, tmp_path / "runs", clip=clip, language_model=scratch)
    update = {"max_bad_fraction": 0.5}
    training = config.training.model_copy(update={"max_steps": 34, "log_row_ids": True})
    config = config.model_copy(
        update={"data": config.data.model_copy(update=update), "training": training}
    )
    rows = stage_module("align").build(config).source
    assert isinstance(rows, ImageRows)
    paths = [Path(str(example.path)) for example in rows.examples]
    paths[0].write_bytes(b"no picture")
    paths[1].write_bytes(b"")
    paths[2].write_bytes(paths[2].read_bytes()[:300])
    paths[3].unlink()
    paths[3].symlink_to("nowhere.jpg")  # else it is not found, and makes no row
    pictures = train(config)
    features = train_cached(cached(config, tmp_path / "cache"))
    texts = [(t.run_dir / QUARANTINE_NAME).read_text() for t in (pictures, features)]
    assert texts[0] == texts[1]
    reasons = read_quarantine(features.run_dir).values()
    assert set(reasons) == {"not an image", "empty", "truncated image", "missing image"}
    assert len(reasons) == 4 * 5
    for key in ("row_ids", "label_tokens", "bad_rows"):
        assert [r[key] for r in records(features)] == [r[key] for r in records(pictures)], key
    strict = config.data.model_copy(update={"max_bad_fraction": 0.1})
    with pytest.raises(DataError, match=r"4 of 27 pictures"):
        prepare_here(
            cached(config.model_copy(update={"data": strict}), tmp_path / "cache"), progress=None
        )


def test_instruct_shares_the_features_of_align(
    align: AlignConfig, world: Path, tmp_path: Path
) -> None:
    config = cached(align, tmp_path / "cache")
    trained = train_cached(config)
    instruct = instruct_config(world, tmp_path / "runs", checkpoint=trained.run_dir)
    notes: list[str] = []
    both = cached(instruct, tmp_path / "cache", name="instruct-cached")
    prepared = prepare_here(both, progress=None, note=notes.append)
    assert notes == []  # nothing is missing
    assert prepared.counts["images with features"] == prepared.counts["images"]
    found = losses(train(both, features=prepared.features))
    torch.testing.assert_close(found, losses(train(instruct)), rtol=BF16_TOLERANCE, atol=0)


def test_a_checkpoint_of_cached_features_sees_pictures(align: AlignConfig, tmp_path: Path) -> None:
    loaded = load_model(train_cached(cached(align, tmp_path / "cache")).run_dir)
    assert isinstance(loaded.model, VisionLanguageModel)
    assert loaded.description.vision == align.vision
    pixels = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    assert loaded.model.vision(pixels).shape == (1, 4, 32)


def test_a_run_keeps_to_its_features(
    align: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_files, "RACY_SECONDS", -1.0)
    plain = prepare_here(align, progress=None)
    prepared = prepare_here(cached(align, tmp_path / "cache"), progress=None)
    assert identify_features(plain) == {}
    assert prepared.fingerprint == plain.fingerprint  # the rows are the same to an evaluation
    write_manifest(tmp_path, data=prepared, models=identify_features(prepared), seed=0)
    moved = prepare_here(cached(align, tmp_path / "moved"), progress=None)
    assert moved.features != prepared.features
    write_manifest(tmp_path, data=moved, models=identify_features(moved), seed=0)
    for models in ({}, {"data.feature_cache": "others"}):
        with pytest.raises(CheckpointError, match=r"^data\.feature_cache of .* changed since"):
            write_manifest(tmp_path, data=plain, models=models, seed=0)


def test_text_has_no_features(world: Path, tmp_path: Path) -> None:
    config = scratch_config(world, tmp_path)
    prepared = prepare_here(config, progress=None)
    assert prepared.features is None
    parts = stage_module("scratch").build(config)
    assert with_cached_features(parts, config, features=None) is parts


COMMAND = """
import time
from phiray.features import compute, prepare, shards
prepare.BATCH = compute.BATCH = 2
shards.SHARD_BYTES = 4 * 4 * 32 * 2  # four pictures
write = prepare.write_shard
def write_slowly(*arguments):
    record = write(*arguments)
    time.sleep({delay})
    return record
prepare.write_shard = write_slowly
from phiray.cli import main
main()
"""
"""The command itself, with small shards, and time to kill it between two of them."""


def start_preparing(config: AnyStageConfig, *, delay: float) -> "subprocess.Popen[bytes]":
    file = Path(config.run.output_dir) / f"{config.run.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(config_yaml(config))
    words = [sys.executable, "-c", COMMAND.format(delay=delay), "data", "prepare", "align"]
    return subprocess.Popen([*words, "--config", str(file)])


def made(cache: Path) -> dict[str, bytes]:
    """Read the shards, their records and the lists."""
    files = [*cache.rglob("*.bin"), *cache.rglob("shards/*.json"), *cache.rglob("views/*.json")]
    return {str(file.relative_to(cache)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_a_killed_preparation_goes_on_and_ends_bit_identical(
    align: AlignConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for module in (prepare, compute):
        monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(shards, "SHARD_BYTES", 4 * 4 * 32 * 2)
    prepare_here(cached(align, whole), progress=None)
    process = start_preparing(cached(align, cut, name="cut"), delay=1)
    while len(made(cut)) < 4:  # two shards
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = made(cut)
    assert 4 <= len(kept) < len(made(whole))
    assert start_preparing(cached(align, cut, name="cut"), delay=0).wait() == 0
    assert made(cut) == made(whole)
    times = [(cut / name).stat().st_mtime_ns for name in kept if name.endswith(".bin")]
    assert max(times) < min(
        file.stat().st_mtime_ns
        for file in cut.rglob("*.bin")
        if str(file.relative_to(cut)) not in kept
    )  # what was there was not made again
