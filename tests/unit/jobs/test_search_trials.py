import pytest

from phiray.config.load import load_search
from phiray.jobs import search_trials
from phiray.jobs.search_trials import trials_at_once


@pytest.mark.parametrize(
    ("resources", "expected"),
    # a trial's worker reserves one CPU, and half a one for its reader
    [({"CPU": 3.2}, 2), ({"CPU": 100.0}, 4), ({"CPU": 0.0}, 1), ({}, 1)],
)
def test_a_cluster_runs_as_many_trials_at_once_as_it_has_room_for(
    monkeypatch: pytest.MonkeyPatch, resources: dict[str, float], expected: int
) -> None:
    monkeypatch.setattr(search_trials, "cluster_resources", lambda: resources)
    config = load_search("tiny", "moe", overrides=["search.max_concurrent=4"])
    assert trials_at_once(config) == expected


def test_gpus_bound_trials_as_cpus_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_trials, "cluster_resources", lambda: {"CPU": 100.0, "GPU": 5.0})
    changes = ["search.max_concurrent=4", "base.cluster.use_gpu=true", "base.cluster.workers=2"]
    assert trials_at_once(load_search("tiny", "moe", overrides=changes)) == 2
