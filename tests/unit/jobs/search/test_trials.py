from contextlib import nullcontext
from pathlib import Path

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayActorError

from phiray.config.load import load_search
from phiray.errors import ClusterError, ExitCode
from phiray.jobs.search import trials
from phiray.jobs.search.log import SearchLog
from phiray.jobs.search.plan import plan_trials
from phiray.jobs.search.trials import run_trials, trials_at_once
from tests.displays import SilentDisplay

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


class Outcome:
    """What Tune returns."""

    def __init__(self, error: Exception) -> None:
        self.errors = [error]


def run_with(monkeypatch: pytest.MonkeyPatch, folder: Path, tuner: object) -> None:
    config = load_search("tiny", "moe", overrides=["search.num_trials=1"])
    monkeypatch.setattr(trials, "ray_session", lambda **_: nullcontext())
    monkeypatch.setattr(trials, "_build_tuner", lambda *_, **__: tuner)
    run_trials(
        config,
        plan_trials(config, folder),
        folder=folder,
        log=SearchLog(folder),
        display=SilentDisplay(),
        attach=False,
    )


def test_a_process_killed_for_want_of_memory_leaves_a_search_resumable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Tuner:
        def fit(self) -> None:
            cause = OutOfMemoryError("6 worker(s) were killed.\nA list of them.")
            raise RuntimeError("Caught unexpected exception") from cause

    with pytest.raises(
        ClusterError, match=r"of the search: 6 worker\(s\) were killed\. What"
    ) as told:
        run_with(monkeypatch, tmp_path, Tuner())
    assert told.value.exit_code == ExitCode.RESUMABLE


def test_a_trial_whose_process_died_leaves_a_search_resumable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Tuner:
        def fit(self) -> Outcome:
            return Outcome(RayActorError())

    with pytest.raises(ClusterError, match="of the search: The actor") as told:
        run_with(monkeypatch, tmp_path, Tuner())
    assert told.value.exit_code == ExitCode.RESUMABLE


def test_another_fault_of_tune_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Tuner:
        def fit(self) -> None:
            raise RuntimeError("no idea")

    with pytest.raises(RuntimeError, match="no idea"):
        run_with(monkeypatch, tmp_path, Tuner())
