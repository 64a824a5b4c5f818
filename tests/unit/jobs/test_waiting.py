import time
from pathlib import Path

import pytest
import ray

from phiray.jobs import waiting
from phiray.jobs.waiting import Need, describe_waiting, is_lacking, told_of_waiting
from phiray.training.metrics_log import METRICS_NAME, log_event
from tests.displays import SilentDisplay

NEEDED = Need("workers", {"CPU": 3.0, "GPU": 0.0}, {})
READERS = Need("readers", {"CPU": 4.0}, {"phiray/role": "decode"})
NODES = [
    {"Alive": True, "Resources": {"CPU": 2.0}, "Labels": {"phiray/role": "train", "zone": "a"}},
    {"Alive": True, "Resources": {"memory": 9.0}, "Labels": {"phiray/role": "decode"}},
    {"Alive": False, "Resources": {"CPU": 8.0}, "Labels": {"phiray/role": "decode"}},
]


class Notes(SilentDisplay):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_NOTES", 0.01)
    monkeypatch.setattr(waiting, "_SECONDS_BETWEEN_LOOKS", 0.001)
    monkeypatch.setattr(ray, "nodes", lambda: NODES)


def wait_for(notes: Notes, number: int) -> None:
    deadline = time.monotonic() + 20
    while len(notes.said) < number and time.monotonic() < deadline:
        time.sleep(0.001)


def test_what_is_needed_and_what_is_there_is_said_again_and_again(tmp_path: Path) -> None:
    notes = Notes()
    with told_of_waiting(tmp_path, NEEDED, readers=None, display=notes):
        wait_for(notes, 2)
    told = f"{tmp_path.name}: waiting for workers; they need 3 CPUs, of which there are 2"
    assert notes.said[:2] == [told, told]


def test_a_run_that_has_started_waits_no_more(tmp_path: Path) -> None:
    notes = Notes()
    with told_of_waiting(tmp_path, NEEDED, readers=None, display=notes):
        wait_for(notes, 1)
        log_event(tmp_path, "start", step=0)
        time.sleep(0.1)
        said = len(notes.said)
        time.sleep(0.1)
        assert len(notes.said) == said


def test_readers_without_nodes_are_told_of_until_the_first_step(tmp_path: Path) -> None:
    notes = Notes()
    with told_of_waiting(tmp_path, NEEDED, readers=READERS, display=notes):
        wait_for(notes, 1)
        log_event(tmp_path, "start", step=0)
        time.sleep(0.1)
        notes.said.clear()
        wait_for(notes, 1)
        told = f"{tmp_path.name}: waiting for readers; they need 4 CPUs, of which there are 0 on "
        assert notes.said[0] == told + "nodes with the labels phiray/role=decode"
        (tmp_path / METRICS_NAME).write_text("a step")
        time.sleep(0.1)
        said = len(notes.said)
        time.sleep(0.1)
        assert len(notes.said) == said


def test_readers_that_have_their_nodes_are_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NODES[2], "Alive", True)
    notes = Notes()
    with told_of_waiting(tmp_path, NEEDED, readers=READERS, display=notes):
        wait_for(notes, 1)
        log_event(tmp_path, "start", step=0)
        time.sleep(0.1)
        notes.said.clear()
        time.sleep(0.2)
    assert notes.said == []


def test_only_living_nodes_with_all_labels_count() -> None:
    labels = {"phiray/role": "train", "zone": "a"}
    assert not is_lacking(Need("workers", {"CPU": 2.0}, labels))
    assert is_lacking(Need("workers", {"CPU": 2.0}, labels | {"zone": "b"}))
    assert is_lacking(Need("workers", {"CPU": 2.0, "GPU": 1.0}, labels))
    assert describe_waiting(Need("workers", {"CPU": 2.0, "GPU": 1.0}, labels)) == (
        "waiting for workers; they need 2 CPUs, of which there are 2 and 1 GPUs, of which there "
        "are 0 on nodes with the labels phiray/role=train,zone=a"
    )
