from pathlib import Path

from phiray.training.collective import Collective
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


def test_write_checkpoint_keeps_the_newest(tmp_path: Path) -> None:
    state = fresh_state(Collective())
    files = open_run(tmp_path, {"config.yaml": "a: 1"}, collective=Collective())
    for step in (1, 2, 3):
        state.step = step
        path = write_checkpoint(state, files, position={"step": step}, keep=2)
    assert path.name == "step-00000003"
    names = sorted(folder.name for folder in path.parent.iterdir())
    assert names == ["step-00000002", "step-00000003"]
