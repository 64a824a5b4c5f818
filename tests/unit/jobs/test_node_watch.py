import threading
import time

import pytest
import ray
from ray.exceptions import RayActorError

from phiray.jobs import node_watch
from phiray.jobs.node_watch import noticed_nodes

PATIENCE_SECONDS = 20


class Nodes:
    """Stands for a cluster whose nodes come and go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.alive = {"a": True, "b": True}
        self.looks, self.recounts, self.failures = 0, 0, 0
        self._lock = threading.Lock()
        monkeypatch.setattr(ray, "nodes", self.nodes)
        monkeypatch.setattr(node_watch, "recount_nodes", self.recount)
        monkeypatch.setattr(node_watch, "_SECONDS_BETWEEN_LOOKS", 0.001)

    def nodes(self) -> list[dict[str, object]]:
        with self._lock:
            self.looks += 1
            return [{"NodeID": name, "Alive": alive} for name, alive in self.alive.items()]

    def recount(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RayActorError
        self.recounts += 1

    def change(self, name: str, *, alive: bool) -> None:
        with self._lock:
            self.alive[name] = alive

    def wait(self, name: str, number: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while getattr(self, name) < number and time.monotonic() < deadline:
            time.sleep(0.001)
        assert getattr(self, name) >= number


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    return Nodes(monkeypatch)


def test_each_lost_and_each_new_node_is_counted_at_once(nodes: Nodes) -> None:
    with noticed_nodes():
        nodes.wait("looks", 5)
        assert nodes.recounts == 0
        nodes.change("b", alive=False)
        nodes.wait("recounts", 1)
        nodes.change("c", alive=True)
        nodes.wait("recounts", 2)
        nodes.wait("looks", nodes.looks + 5)
    assert nodes.recounts == 2


def test_a_first_look_that_fails_is_made_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([True])

    def fail_once() -> list[dict[str, object]]:
        if next(looks, False):
            raise RayActorError
        return nodes.nodes()

    monkeypatch.setattr(ray, "nodes", fail_once)
    with noticed_nodes():
        nodes.wait("looks", 2)
        nodes.change("b", alive=False)
        nodes.wait("recounts", 1)


def test_a_count_that_fails_is_made_again(nodes: Nodes) -> None:
    nodes.failures = 2
    with noticed_nodes():
        nodes.wait("looks", 2)
        nodes.change("b", alive=False)
        nodes.wait("recounts", 1)
    assert nodes.failures == 0
