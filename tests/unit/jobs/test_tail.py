import json
import time
from pathlib import Path

import pytest

from phiray.checkpoints.files import write_text
from phiray.jobs import tail
from phiray.jobs.tail import shown_steps
from phiray.training.metrics_log import METRICS_NAME, Record, log_event


class Recorder:
    """Remembers the steps that it was shown."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def progress(self, description: str, done: int, total: int) -> None:
        raise AssertionError(description)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, run: str, record: Record, max_steps: int) -> None:
        self.steps.append((run, int(str(record["step"])), max_steps))

    @property
    def numbers(self) -> list[int]:
        return [step for _, step, _ in self.steps]

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.steps) < count and time.monotonic() < deadline:
            time.sleep(0.01)


def line(step: int, **more: float) -> str:
    return json.dumps({"step": step, **more}) + "\n"


def test_steps_are_shown_while_they_come(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        with (tmp_path / METRICS_NAME).open("w") as file:
            file.write(line(1) + line(2))
        recorder.wait_for(2)
        assert recorder.steps == [(tmp_path.name, 1, 9), (tmp_path.name, 2, 9)]


def test_last_steps_are_shown_at_the_end(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        (tmp_path / METRICS_NAME).write_text(line(1))
    assert recorder.numbers == [1]


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        with (tmp_path / METRICS_NAME).open("w") as file:
            file.write(line(1) + line(2)[:5])
            file.flush()
            recorder.wait_for(1)
            assert recorder.numbers == [1]
            file.write(line(2)[5:])
        recorder.wait_for(2)
    assert recorder.numbers == [1, 2]


def test_steps_of_an_earlier_start_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / METRICS_NAME).write_text(line(1) + line(2))
    recorder = Recorder()
    with (
        shown_steps(tmp_path, display=recorder, max_steps=9),
        (tmp_path / METRICS_NAME).open("a") as file,
    ):
        file.write(line(3))
    assert recorder.numbers == [3]


def test_replayed_steps_are_shown_again_even_if_they_outgrow_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / METRICS_NAME
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        file.write_text(line(1) + line(2) + line(3))
        recorder.wait_for(3)
        # A worker died; the next one cuts back to step 1 and has replayed it all by the next look.
        replayed = "".join(line(step, step_seconds=0.123456789) for step in (2, 3, 4))
        write_text(file, line(1) + replayed)
    assert recorder.numbers == [1, 2, 3, 2, 3, 4]


def test_first_start_of_a_run_is_no_news(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        log_event(tmp_path, "start", attempt=1, step=0, replayed_steps=0)
        log_event(tmp_path, "end", attempt=1, step=9)
    assert recorder.notes == []


def test_resumed_run_says_from_where_and_which_checkpoints_were_broken(tmp_path: Path) -> None:
    log_event(tmp_path, "start", attempt=1, step=0, replayed_steps=0)
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        log_event(tmp_path, "set aside", attempt=2, names=["broken-step-00000006"])
        log_event(tmp_path, "resume", attempt=2, step=4, replayed_steps=3)
        log_event(tmp_path, "resume", attempt=3, step=6, replayed_steps=0)
    run = tmp_path.name
    assert recorder.notes == [
        f"{run}: broken checkpoints were set aside: broken-step-00000006",
        f"{run}: goes on from step 4, with 3 steps to do again (attempt 2)",
        f"{run}: a worker was lost; going on from step 6, with 0 steps to do again (attempt 3)",
    ]


def test_nodes_that_keep_no_copies_are_told_of(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        log_event(tmp_path, "start", attempt=1, step=0, replayed_steps=0)
        log_event(tmp_path, "no node cache", nodes=["a: in the way", "b: in the way"])
    told = "node_cache keeps nothing, the storage is read: a: in the way; b: in the way"
    assert recorder.notes == [f"{tmp_path.name}: {told}"]


def test_restart_says_what_the_first_worker_met(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        log_event(tmp_path, "start", attempt=1, step=0, replayed_steps=0)
        log_event(tmp_path, "stopped", error="RuntimeError: 3 is not 4")
        log_event(tmp_path, "stopped", error="RuntimeError: Connection closed by peer")
        log_event(tmp_path, "start", attempt=2, step=0, replayed_steps=1)
        log_event(tmp_path, "start", attempt=3, step=0, replayed_steps=2)
    going_on = "going on from step 0, with"
    assert recorder.notes == [
        f"{tmp_path.name}: a worker stopped (RuntimeError: 3 is not 4); "
        f"{going_on} 1 steps to do again (attempt 2)",
        f"{tmp_path.name}: a worker was lost; {going_on} 2 steps to do again (attempt 3)",
    ]


def test_a_notice_is_told_of_and_the_restart_after_it_is_no_failure(tmp_path: Path) -> None:
    recorder = Recorder()
    notice = {"notice": "node 0a1b2c3d (worker 1)"}
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        log_event(tmp_path, "start", attempt=1, step=0, replayed_steps=0)
        log_event(tmp_path, "notice", attempt=1, step=4, **notice)
        log_event(tmp_path, "notice answered", attempt=1, step=4, **notice)
        log_event(tmp_path, "resume", attempt=2, step=4, replayed_steps=3)
        log_event(tmp_path, "resume", attempt=3, step=4, replayed_steps=1)
    assert recorder.notes == [
        f"{tmp_path.name}: to be taken away: node 0a1b2c3d (worker 1); step 4 is committed, and "
        "training goes on",
        f"{tmp_path.name}: taken away (node 0a1b2c3d (worker 1)), which is no failure; going on "
        "from step 4, with 3 steps to do again (attempt 2)",
        f"{tmp_path.name}: a worker was lost; going on from step 4, with 1 steps to do again "
        "(attempt 3)",
    ]


def test_a_worker_that_stops_before_its_node_goes_is_told_as_such(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        log_event(tmp_path, "start", attempt=1, step=0, replayed_steps=0)
        log_event(tmp_path, "notice", attempt=1, step=4, notice="node 0a1b2c3d (worker 1)")
        log_event(tmp_path, "stopped", error="MemoryError")
        log_event(tmp_path, "resume", attempt=2, step=4, replayed_steps=3)
    assert recorder.notes == [
        f"{tmp_path.name}: a worker stopped (MemoryError); going on from step 4, with 3 steps to "
        "do again (attempt 2)",
    ]


def test_checkpoint_is_told_of_once_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "_SILENT_SECONDS", 0.2)
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        with (tmp_path / METRICS_NAME).open("w") as file:
            log_event(tmp_path, "checkpoint", attempt=1, step=2)
            file.write(line(2) + line(3))
            file.flush()
            recorder.wait_for(2)
            time.sleep(0.8)
        assert recorder.notes == []
        log_event(tmp_path, "checkpoint", attempt=1, step=4)
        time.sleep(2.2)
    assert recorder.notes == [f"{tmp_path.name}: writing the checkpoint of step 4"]


def test_a_line_that_a_full_disk_tore_is_passed_over(tmp_path: Path) -> None:
    recorder = Recorder()
    with shown_steps(tmp_path, display=recorder, max_steps=9):
        torn = line(2)[:5]
        (tmp_path / METRICS_NAME).write_text(line(1) + torn + line(3) + line(4))
    assert recorder.numbers == [1, 4]
