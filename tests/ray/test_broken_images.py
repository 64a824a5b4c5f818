"""A real run on a training set with broken images and three held-out ones planted in it."""

from pathlib import Path

import pytest

from phiray.data.check.run import check_data
from phiray.data.signed_images import SignedImages
from phiray.errors import DataError
from phiray.evals.run import evaluate_checkpoint
from phiray.evals.settings import EvalSettings
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.stages.parts import TRAINED_IMAGES_FILE
from tests.broken_world import (
    NUM_KINDS,
    NUM_TRAINED,
    broken_config,
    check_broken_run,
    write_broken_world,
)
from tests.displays import SilentDisplay
from tests.ray.run_builders import Inputs

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
NUM_PLANTED = 3
LEAK = "leak: one picture in train and held-out"
SETTINGS = EvalSettings(max_images=NUM_TRAINED, captions_per_image=1, max_new_tokens=2)


def test_broken_images_are_counted_and_a_planted_leak_is_refused(
    inputs: Inputs, shared_ray: None, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    broken = write_broken_world(root, inputs, percent=5, num_planted=NUM_PLANTED)
    config = broken_config(root, tmp_path / "runs", inputs, max_bad_fraction=0.05)

    train_stage(config, resume=False, display=SilentDisplay())

    run_dir = run_folder(config)
    check_broken_run(config, run_dir, broken)
    newest = max((run_dir / "checkpoints").iterdir())
    carried = SignedImages.from_json((newest / TRAINED_IMAGES_FILE).read_text())
    assert len(carried.ids) == NUM_TRAINED - 5 * NUM_KINDS
    found = check_data(config.data).findings[LEAK]
    assert (found.count, found.unit) == (NUM_PLANTED, None)
    match = r"3 evaluated pictures were trained on under other ids: \d{12}\.jpg \(equal pixels"
    with pytest.raises(DataError, match=match):
        evaluate_checkpoint("caption", run_dir, settings=SETTINGS)

    for place in found.places:  # what the message says: take them out of the held-out images
        names = place.split(" = ")
        next(Path(name) for name in names if "train2014" not in name).unlink()
    result = evaluate_checkpoint("caption", run_dir, settings=SETTINGS)
    assert result.data["trained_images_compared"] == len(carried.ids)


def test_a_run_with_too_many_broken_images_does_not_start(
    inputs: Inputs, shared_ray: None, tmp_path: Path
) -> None:
    """5 % are too few to be beyond doubt in a sample: all images are looked at."""
    write_broken_world(tmp_path / "data", inputs, percent=5)
    config = broken_config(tmp_path / "data", tmp_path / "runs", inputs, max_bad_fraction=0.04)

    with pytest.raises(DataError, match=f"70 of {NUM_TRAINED} training images .*No step was made"):
        train_stage(config, resume=False, display=SilentDisplay())

    assert not run_folder(config).exists()
