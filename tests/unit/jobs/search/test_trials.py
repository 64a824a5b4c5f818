import pytest
import ray

from phiray.config.load import load_search
from phiray.jobs.search import trials
from phiray.jobs.search.trials import trials_at_once

TRAIN, DECODE = {"phiray/role": "train"}, {"phiray/role": "decode"}


def node(resources: dict[str, float], labels: dict[str, str] | None = None) -> dict[str, object]:
    return {"Alive": True, "Resources": resources, "Labels": labels or {}}


def count_trials(
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[dict[str, object]],
    *changes: str,
    growth: dict[str, float] | None = None,
) -> int:
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(trials, "possible_growth", lambda: growth or {})
    overrides = ["search.max_concurrent=4", *changes]
    return trials_at_once(load_search("tiny", "moe", overrides=overrides))


@pytest.mark.parametrize(
    ("resources", "expected"),
    # a trial's worker reserves one CPU, and half a one for its reader
    [({"CPU": 3.2}, 2), ({"CPU": 100.0}, 4), ({"CPU": 0.0}, 1), ({}, 1)],
)
def test_a_cluster_runs_as_many_trials_at_once_as_it_has_room_for(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, float], expected: int
) -> None:
    assert count_trials(monkeypatch, [node(resources)]) == expected


def test_gpus_bound_trials_as_cpus_do(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = ["base.cluster.use_gpu=true", "base.cluster.workers=2"]
    assert count_trials(monkeypatch, [node({"CPU": 100.0, "GPU": 5.0})], *changes) == 2


def test_only_nodes_with_the_workers_labels_have_room_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [node({"CPU": 3.0}, TRAIN), node({"CPU": 100.0}, DECODE)]
    labels = "base.cluster.worker_labels={phiray/role: train}"
    assert count_trials(monkeypatch, nodes, labels) == 2


def test_readers_with_nodes_of_their_own_bound_trials_too(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [node({"CPU": 100.0}, TRAIN), node({"CPU": 7.0}, DECODE)]
    labels = "base.cluster.reader_labels={phiray/role: decode}"
    # two workers with a reader each, which reserves one CPU
    assert count_trials(monkeypatch, nodes, labels, "base.cluster.workers=2") == 3


def test_what_the_cluster_may_add_counts_whatever_its_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = "base.cluster.worker_labels={phiray/role: train}"
    growth = {"CPU": 3.0}
    assert count_trials(monkeypatch, [node({"CPU": 9.0})], labels, growth=growth) == 2
