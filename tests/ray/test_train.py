"""Runs through Ray Train: equal losses, however the work is shared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phiray.config.stages import AnyStageConfig, InstructConfig
from phiray.config.training import ClusterConfig
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.training.loop import VALIDATION_METRIC
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.displays import SilentDisplay
from tests.image_builders import with_text_rows
from tests.ray.run_builders import (
    LOSS,
    STEPS,
    Inputs,
    build_instruct,
    build_litgpt,
    build_scratch,
    killed_config,
    read_lines,
    shared_out,
)
from tests.stage_builders import train

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
RELATIVE_TOLERANCE = 1e-5
Build = Callable[[Inputs, Path], AnyStageConfig]


@pytest.mark.parametrize("build", [build_scratch, build_litgpt, build_instruct])
def test_two_ray_workers_with_four_micro_batches_lose_what_one_process_loses(
    build: Build, inputs: Inputs, shared_ray: None, tmp_path: Path
) -> None:
    whole = shared_out(build(inputs, tmp_path / "1x1"), workers=1, accumulation=1)
    split = shared_out(build(inputs, tmp_path / "2x4"), workers=2, accumulation=4)
    train(whole)
    train_stage(split, resume=False, display=SilentDisplay())
    check_same_losses(run_folder(split), run_folder(whole), num_steps=STEPS)


def test_a_worker_with_texts_alone_goes_on_with_one_that_has_images(
    inputs: Inputs, shared_ray: None, tmp_path: Path
) -> None:
    def build(name: str, *, workers: int) -> AnyStageConfig:
        config = build_instruct(inputs, tmp_path / name)
        assert isinstance(config, InstructConfig)
        data = with_text_rows(config.data, 60, folder=tmp_path)
        mixed = shared_out(
            config.model_copy(update={"data": data}), workers=workers, accumulation=1
        )
        training = mixed.training.model_copy(update={"global_batch_size": 2})
        return mixed.model_copy(update={"training": training})

    whole, split = build("1x1", workers=1), build("2x1", workers=2)
    source = train(whole).parts.source
    train_stage(split, resume=False, display=SilentDisplay())
    check_same_losses(run_folder(split), run_folder(whole), num_steps=STEPS)
    rows = [record["row_ids"] for record in read_lines(run_folder(split) / METRICS_NAME)]
    images = [source.read(np.array(ids))["image"].is_valid().to_pylist() for ids in rows]
    kinds = {tuple(kind) for kind in images}  # by worker: one row each
    assert kinds == {(True, True), (True, False), (False, True), (False, False)}


def test_align_of_two_ray_workers_loses_what_one_process_loses(
    inputs: Inputs, undisturbed: Path, tmp_path: Path
) -> None:
    split = killed_config(inputs, tmp_path)
    training = split.training.model_copy(update={"gradient_accumulation_steps": 1})
    whole = split.model_copy(update={"training": training, "cluster": ClusterConfig()})
    train(whole)
    check_same_losses(undisturbed, run_folder(whole), num_steps=split.training.max_steps)


def check_same_losses(split: Path, whole: Path, *, num_steps: int) -> None:
    """Compare a run of many workers with that of one, step by step."""
    events = [event["event"] for event in read_lines(split / EVENTS_NAME)]
    others = [event for event in events if event != "checkpoint"]
    assert others == ["start", "end"], "no attempt failed on the way"
    wanted, found = (read_lines(run_dir / METRICS_NAME) for run_dir in (whole, split))
    assert [record["step"] for record in found] == list(range(1, num_steps + 1))
    for key in ("row_ids", "label_tokens", "replaced_tokens"):
        assert [_sorted(record[key]) for record in found] == [_sorted(r[key]) for r in wanted], key
    measured = [
        [record[VALIDATION_METRIC] for record in records if VALIDATION_METRIC in record]
        for records in (found, wanted)
    ]
    assert len(measured[0]) == 3  # both kinds of run write so many checkpoints
    torch.testing.assert_close(
        *(torch.tensor(nats).double() for nats in measured), rtol=RELATIVE_TOLERANCE, atol=0
    )
    losses = [torch.tensor([r[LOSS] for r in records]).double() for records in (found, wanted)]
    torch.testing.assert_close(losses[0], losses[1], rtol=RELATIVE_TOLERANCE, atol=0)
    mixes_tokens = found[0]["gold_probability"] < 1 or found[-1]["gold_probability"] < 1
    assert (max(record["replaced_tokens"] for record in found) > 0) == mixes_tokens


# Any: one value of a record.
def _sorted(value: Any) -> Any:
    """Workers report their rows one after the other, so their order is that of the workers."""
    return sorted(value) if isinstance(value, list) else value
