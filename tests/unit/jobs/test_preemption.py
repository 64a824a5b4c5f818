import pytest
import ray.train
from ray.train import PreemptionInfo

from phiray.jobs.preemption import ask_preemption, notice_from_preemption
from phiray.training.notices import Notice

A, B = "a" * 56, "b" * 56


def test_without_a_notice_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.train, "get_preemption_info", lambda: None)
    assert ask_preemption() is None


def test_a_notice_names_nodes_workers_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    info = PreemptionInfo(deadline_ms=1_000_000, preempted_node_to_ranks={B: [3, 2], A: [0]})
    monkeypatch.setattr(ray.train, "get_preemption_info", lambda: info)
    told = "node aaaaaaaa (worker 0); node bbbbbbbb (worker 2, 3), at 00:16:40 UTC"
    assert ask_preemption() == Notice(told, 1000.0)


def test_a_notice_without_a_time_names_none() -> None:
    info = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={A: [0]})
    assert notice_from_preemption(info) == Notice("node aaaaaaaa (worker 0)", None)
