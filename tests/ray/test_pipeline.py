"""The pipeline through Ray gives the same steps as the reader without Ray."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from phiray.batch import StepInput
from phiray.data.image_rows import ROWS_PER_BLOCK, ImageRows
from phiray.data.image_sets import caption_rows
from phiray.data.pipeline import Decode, stream_steps
from phiray.data.sources.coco import CaptionedImage
from phiray.types import FILLER_ROW
from tests.feature_builders import rows_with_features
from tests.image_builders import IMAGE_SIZE, NUM_PATCHES, write_image_world
from tests.step_reader import read_steps

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray Data sets its own deprecated fields whenever a context is made or copied.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

PAD = 7


@pytest.fixture
def rows(tmp_path: Path) -> ImageRows[CaptionedImage]:
    """Captions of twelve images, one of them broken and one missing at reading time."""
    rows = caption_rows(write_image_world(tmp_path), num_patches=NUM_PATCHES, seed=0)
    Path(str(rows.examples[1].path)).write_bytes(b"not a picture")
    Path(str(rows.examples[2].path)).unlink()
    return rows


def planned_positions(num_rows: int) -> np.ndarray:
    """More than two blocks of rows, three micro-batches of three a step, with fillers."""
    num_steps = 2 * ROWS_PER_BLOCK // 9 + 3
    positions = np.random.default_rng(0).integers(0, num_rows, (num_steps, 3, 3))
    positions[-1, 2, 1:] = FILLER_ROW
    positions[4, 0] = FILLER_ROW
    return positions


def assert_equal_steps(left: StepInput, right: StepInput) -> None:
    assert left.bad_rows == right.bad_rows
    for batch, expected in zip(left.micro_batches, right.micro_batches, strict=True):
        torch.testing.assert_close(dict(batch), dict(expected), rtol=0, atol=0)


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(
    ("decode", "num_readers", "max_packed_length"), [("worker", 1, None), ("tasks", 2, 128)]
)
def test_stream_steps_equals_read_steps(
    rows: ImageRows[CaptionedImage], decode: Decode, num_readers: int, max_packed_length: int | None
) -> None:
    positions = planned_positions(rows.num_rows)
    expected = list(
        read_steps(
            rows,
            positions,
            pad_id=PAD,
            image_size=IMAGE_SIZE,
            max_packed_length=max_packed_length,
        )
    )

    streamed = list(
        stream_steps(
            rows,
            positions,
            pad_id=PAD,
            image_size=IMAGE_SIZE,
            decode=decode,
            num_readers=num_readers,
            num_pipelines=2,
            max_packed_length=max_packed_length,
        )
    )

    assert len(streamed) == len(expected)
    for left, right in zip(streamed, expected, strict=True):
        assert_equal_steps(left, right)
    read = [[batch["row_ids"].tolist() for batch in step.micro_batches] for step in streamed]
    assert read == positions.tolist()
    reasons = {bad.reason for step in streamed for bad in step.bad_rows}
    assert reasons == {"not an image", "missing image"}


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(("decode", "num_readers"), [("worker", 1), ("tasks", 2)])
def test_features_come_as_rows_in_the_same_order(
    tmp_path: Path, decode: Decode, num_readers: int
) -> None:
    rows, view = rows_with_features(tmp_path)
    positions = planned_positions(rows.num_rows)
    options = {"pad_id": PAD, "image_size": IMAGE_SIZE, "feature_shape": view.shape}
    expected = list(read_steps(rows, positions, **options))  # type: ignore[arg-type]  # of each kind

    streamed = list(
        stream_steps(rows, positions, decode=decode, num_readers=num_readers, **options)  # type: ignore[arg-type]
    )

    assert len(streamed) == len(expected)
    for left, right in zip(streamed, expected, strict=True):
        assert_equal_steps(left, right)
    assert {bad.reason for step in streamed for bad in step.bad_rows} == {"not an image"}
    assert streamed[0].micro_batches[0]["image_features"].dtype == torch.bfloat16


@pytest.mark.usefixtures("shared_ray")
def test_stream_steps_without_steps_is_empty(rows: ImageRows[CaptionedImage]) -> None:
    positions = np.empty((0, 1, 4), dtype=np.int64)

    assert list(stream_steps(rows, positions, pad_id=PAD, image_size=IMAGE_SIZE)) == []


@pytest.mark.usefixtures("shared_ray")
def test_stream_steps_gives_its_cpus_back(rows: ImageRows[CaptionedImage]) -> None:
    positions = planned_positions(rows.num_rows)[:2]

    list(stream_steps(rows, positions, pad_id=PAD, image_size=IMAGE_SIZE))

    total = ray.cluster_resources()["CPU"]
    assert total >= min(2, os.cpu_count() or 1)
    for _ in range(100):
        if ray.available_resources().get("CPU", 0) == total:
            break
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == total
