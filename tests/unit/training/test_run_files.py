import json
from pathlib import Path

import pytest

from phiray.errors import CheckpointError, ExitCode
from phiray.training.collective import Collective
from phiray.training.metrics_log import EVENTS_NAME
from phiray.training.run_files import open_run, resume, write_checkpoint
from tests.unit.training.four_processes import fresh_state, weigh
from tests.unit.training.training_builders import train


def test_open_run_counts_attempts(tmp_path: Path) -> None:
    files = [open_run(tmp_path, {"a": "b"}, collective=Collective()) for _ in range(2)]
    assert [one.attempt for one in files] == [1, 2]
    assert files[0].texts == {"a": "b"}


def test_resume_of_a_new_run_changes_nothing(tmp_path: Path) -> None:
    state = fresh_state(Collective())
    before = weigh(state)
    files = open_run(tmp_path, {}, collective=Collective())
    resume(state, files, collective=Collective())
    assert (state.step, weigh(state)) == (0, before)


def test_resume_takes_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    train(tmp_path)
    (tmp_path / "checkpoints" / "step-00000006" / "model.safetensors").write_bytes(b"x")
    state = fresh_state(Collective())
    files = open_run(tmp_path, {}, collective=Collective())
    resume(state, files, collective=Collective())
    assert state.step == 4
    event = json.loads((tmp_path / EVENTS_NAME).read_text().splitlines()[-1])
    assert (event["event"], event["names"]) == ("set aside", ["broken-step-00000006"])


def test_resume_refuses_to_begin_again_where_all_checkpoints_are_broken(tmp_path: Path) -> None:
    train(tmp_path)
    for folder in (tmp_path / "checkpoints").iterdir():
        (folder / "model.safetensors").write_bytes(b"x")
    names = "broken-step-00000004, broken-step-00000006"
    for _ in range(2):  # those that an earlier start set aside count as well
        state = fresh_state(Collective())
        files = open_run(tmp_path, {}, collective=Collective())
        with pytest.raises(CheckpointError, match=f"All checkpoints of .*: {names}") as caught:
            resume(state, files, collective=Collective())
        assert caught.value.exit_code == ExitCode.BAD_DATA


def test_write_checkpoint_keeps_the_newest(tmp_path: Path) -> None:
    state = fresh_state(Collective())
    files = open_run(tmp_path, {"config.yaml": "a: 1"}, collective=Collective())
    for step in (1, 2, 3):
        state.step = step
        path = write_checkpoint(state, files, position={"step": step}, keep=2)
    assert path.name == "step-00000003"
    names = sorted(folder.name for folder in path.parent.iterdir())
    assert names == ["step-00000002", "step-00000003"]
