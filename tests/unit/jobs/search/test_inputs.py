from pathlib import Path

import pytest

from phiray.errors import CheckpointError
from phiray.jobs.search.inputs import INPUTS_FILE, check_inputs
from tests.stage_builders import scratch_config


def test_inputs_are_kept_and_others_refused(world: Path, tmp_path: Path) -> None:
    config = scratch_config(world, tmp_path)
    check_inputs(config, tmp_path, progress=None)
    kept = (tmp_path / INPUTS_FILE).read_text()
    check_inputs(config, tmp_path, progress=None)
    assert (tmp_path / INPUTS_FILE).read_text() == kept
    split = config.data.split.model_copy(update={"salt": "another"})
    data = config.data.model_copy(update={"split": split})
    with pytest.raises(CheckpointError, match=r"data of .* changed since it began"):
        check_inputs(config.model_copy(update={"data": data}), tmp_path, progress=None)
