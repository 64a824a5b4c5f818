"""Broken images of every kind in a training set: counted, never replaced, refused above the share.

Without Ray; `tests/ray/test_broken_images.py` shows the same of a real run.
"""

from pathlib import Path

import pytest

from phiray.errors import DataError, ExitCode
from phiray.jobs.run_folder import run_folder
from phiray.models.clip import build_clip_model
from phiray.stages.align import prepare
from phiray.training.quarantine import read_quarantine
from tests.broken_world import (
    NUM_KINDS,
    NUM_TRAINED,
    broken_config,
    check_broken_run,
    write_broken_world,
)
from tests.ray.run_builders import Inputs
from tests.stage_builders import CLIP_CFG, scratch_config, train, write_clip, write_world


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    root = tmp_path_factory.mktemp("inputs")
    world = write_world(root / "world")
    visual = build_clip_model(CLIP_CFG).get_submodule("visual").state_dict()
    clip = write_clip(root / "clip", visual)
    language_model = train(scratch_config(world, root / "runs")).run_dir
    return Inputs(world, clip, language_model, root)


@pytest.mark.slow
@pytest.mark.parametrize("percent", [1, 5])
def test_broken_images_of_all_kinds_are_counted_and_move_no_other_row(
    inputs: Inputs, tmp_path: Path, percent: int
) -> None:
    broken = write_broken_world(tmp_path / "data", inputs, percent=percent)
    config = broken_config(
        tmp_path / "data", tmp_path / "runs", inputs, max_bad_fraction=percent / 100
    )

    run_dir = train(config).run_dir

    assert len(broken) == percent * NUM_KINDS
    check_broken_run(config, run_dir, broken)


@pytest.mark.slow
def test_too_many_broken_images_stop_a_run_that_did_not_look_before(
    inputs: Inputs, tmp_path: Path
) -> None:
    broken = write_broken_world(tmp_path / "data", inputs, percent=5)
    config = broken_config(tmp_path / "data", tmp_path / "runs", inputs, max_bad_fraction=0.04)

    with pytest.raises(DataError, match=f"of {NUM_TRAINED} rows could not be read so far"):
        train(config)

    found = read_quarantine(run_folder(config))
    assert 0.04 * NUM_TRAINED < len(found) <= len(broken)
    assert found.items() <= broken.items()


def test_half_of_the_images_broken_is_known_before_a_run_starts(
    inputs: Inputs, tmp_path: Path
) -> None:
    write_broken_world(tmp_path / "data", inputs, percent=50)
    config = broken_config(tmp_path / "data", tmp_path / "runs", inputs, max_bad_fraction=0.05)

    with pytest.raises(DataError, match=r"\d+ of 200 pictures that were looked at") as caught:
        prepare(config)

    assert caught.value.exit_code == ExitCode.BAD_DATA
