import time
from pathlib import Path

import pytest
import ray

from phiray.jobs import waiting
from phiray.jobs.waiting import told_of_waiting
from phiray.training.metrics_log import log_event
from tests.displays import SilentDisplay

NEEDED = {"CPU": 3.0, "GPU": 0.0}


class Notes(SilentDisplay):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_NOTES", 0.01)
    monkeypatch.setattr(waiting, "_SECONDS_BETWEEN_LOOKS", 0.001)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})


def wait_for(notes: Notes, number: int) -> None:
    deadline = time.monotonic() + 20
    while len(notes.said) < number and time.monotonic() < deadline:
        time.sleep(0.001)


def test_what_is_needed_and_what_is_there_is_said_again_and_again(tmp_path: Path) -> None:
    notes = Notes()
    with told_of_waiting(tmp_path, NEEDED, display=notes):
        wait_for(notes, 2)
    told = f"{tmp_path.name}: waiting for workers; they need 3 CPUs, of which there are 2"
    assert notes.said[:2] == [told, told]


def test_a_run_that_has_started_waits_no_more(tmp_path: Path) -> None:
    notes = Notes()
    with told_of_waiting(tmp_path, NEEDED, display=notes):
        wait_for(notes, 1)
        log_event(tmp_path, "start", step=0)
        time.sleep(0.1)
        said = len(notes.said)
        time.sleep(0.1)
        assert len(notes.said) == said
