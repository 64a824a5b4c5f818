import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError
from ray.util.queue import Empty

from phiray.config.load import config_from_file
from phiray.config.stages import AnyStageConfig
from phiray.errors import CheckpointError, ClusterError, ConfigError, ExitCode, PhirayError
from phiray.evals.results import SuiteResult
from phiray.evals.settings import EvalSettings
from phiray.jobs.cluster import evaluation, shared_storage
from phiray.jobs.cluster.evaluation import EvalOutcome, EvalPayload, evaluate_on_cluster, score
from tests.displays import SilentDisplay
from tests.stage_builders import scratch_config, train, write_world


class Messages:
    """Stands in for Ray's queue."""

    def __init__(self, **_: object) -> None:
        self.sent: list[tuple[str, int, int]] = []

    def put(self, message: tuple[str, int, int]) -> None:
        self.sent.append(message)

    def get(self, timeout: float) -> tuple[str, int, int]:
        if not self.sent:
            raise Empty
        return self.sent.pop(0)


class Cluster:
    """Stands in for Ray: runs the task at once, where it was asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, object] = {}
        self.looks = 2

    # Any: Ray's own signatures.
    def remote(self, function: Any) -> Any:
        cluster = self

        class Task:
            def options(self, **asked: object) -> "Task":
                cluster.asked = asked
                return self

            def remote(self, *told: Any) -> Any:
                return function(*told)

        return Task()

    # Any: the outcome stands for its reference.
    def wait(self, tasks: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        self.looks -= 1
        return (tasks, []) if self.looks < 0 else ([], tasks)


class Shown(SilentDisplay):
    """Keeps what is shown."""

    def __init__(self) -> None:
        self.progressed: list[str] = []

        self.noted: list[str] = []

    def note(self, text: str) -> None:
        self.noted.append(text)

    def progress(self, description: str, done: int, total: int) -> None:
        self.progressed.append(description)


@contextmanager
def no_ray(**options: object) -> Iterator[None]:
    assert options["attach"] is True
    yield


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()
    monkeypatch.setattr(evaluation, "ray_session", no_ray)
    monkeypatch.setattr(evaluation, "Queue", Messages)
    monkeypatch.setattr(ray, "remote", cluster.remote)
    monkeypatch.setattr(ray, "wait", cluster.wait)
    monkeypatch.setattr(ray, "get", lambda outcome: outcome)
    for module in (evaluation, shared_storage):
        monkeypatch.setattr(module, "node_name", lambda: "nodename (10.0.0.7)")
        monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    threads = torch.get_num_threads()
    yield cluster
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scored")
    return train(scratch_config(write_world(root / "world"), root / "runs")).run_dir


def evaluate(run: Path, *, display: Shown | None = None) -> SuiteResult:
    settings = EvalSettings(max_documents=2)
    return evaluate_on_cluster("lm", run, settings=settings, display=display or Shown())


def test_a_run_is_scored_where_there_is_a_cpu_and_the_result_is_read_from_its_folder(
    cluster: Cluster, run: Path
) -> None:
    display = Shown()
    result = evaluate(run, display=display)
    assert cluster.asked == {"num_cpus": 1, "num_gpus": 0.0, "label_selector": None}
    assert (run / "evals" / "lm" / "result.json").is_file()
    assert result.data["settings"] == EvalSettings(max_documents=2).model_dump(mode="json")
    assert display.progressed != []


def test_a_mistake_comes_back_with_its_code_and_the_node(cluster: Cluster, run: Path) -> None:
    with pytest.raises(PhirayError, match=r"^On node nodename .*Suite caption was asked") as caught:
        evaluate_on_cluster("caption", run, display=SilentDisplay())
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_node_that_does_not_see_the_checkpoint_is_named(cluster: Cluster, tmp_path: Path) -> None:
    payload: EvalPayload = {
        "suite": "lm",
        "checkpoint": str(tmp_path / "nowhere"),
        "settings": {},
        "root": None,
    }
    # Any: Messages stands in for Ray's queue.
    messages: Any = Messages()
    error = score(payload, messages)["error"]
    assert error is not None
    assert error["exit_code"] == ExitCode.BAD_CONFIG
    assert f"CHECKPOINT: {tmp_path / 'nowhere'} is missing on node nodename" in str(
        error["message"]
    )


def test_a_result_that_this_node_does_not_see_is_refused(
    cluster: Cluster, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"node": "other (10.0.0.8)", "sha256": "0" * 64, "error": None}
    monkeypatch.setattr(evaluation, "score", lambda *_: told)
    with pytest.raises(
        ConfigError, match=r"does not hold the result that node other \(10\.0\.0\.8"
    ):
        evaluate(run)


def test_a_run_is_scored_on_nodes_with_the_labels_of_its_workers(
    cluster: Cluster, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"phiray/role": "train"}

    def labelled(path: Path) -> AnyStageConfig:
        config = config_from_file(path)
        places = config.cluster.model_copy(update={"worker_labels": labels})
        return config.model_copy(update={"cluster": places})

    monkeypatch.setattr(evaluation, "config_from_file", labelled)
    display = Shown()
    evaluate(run, display=display)
    assert cluster.asked["label_selector"] == labels
    told = "lm: to be scored on a node with the labels phiray/role=train and a CPU to spare"
    assert display.noted == [told]


def fail_with(error: Exception) -> Callable[[object], None]:
    def fail(_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [NodeDiedError("it went"), OutOfMemoryError("it was killed")])
def test_a_task_that_ray_gives_up_is_no_fault_of_ours(
    cluster: Cluster, run: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(ray, "get", fail_with(error))
    with pytest.raises(ClusterError, match=r"^Ray could not finish .*it w.* again") as caught:
        evaluate(run)
    assert caught.value.exit_code == ExitCode.RESUMABLE


def test_a_fault_within_the_task_keeps_its_traceback(
    cluster: Cluster, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = RayTaskError("score", "Traceback: 3 is not 4", ValueError("3 is not 4"))
    monkeypatch.setattr(ray, "get", fail_with(fault))
    with pytest.raises(RayTaskError, match="3 is not 4"):
        evaluate(run)


@pytest.fixture
def going_on(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a copy of the run commit a newer checkpoint, and delete this one, as it is scored."""
    copy = tmp_path / run.name
    shutil.copytree(run, copy)
    (old,) = (copy / "checkpoints").iterdir()

    # Any: Messages stands in for Ray's queue.
    def go_on(payload: EvalPayload, messages: Any) -> EvalOutcome:
        if old.is_dir():
            old.rename(old.with_name("step-00000099"))
        return score(payload, messages)

    monkeypatch.setattr(evaluation, "score", go_on)
    return old


def test_a_run_that_goes_on_is_scored_by_its_newer_checkpoint(
    cluster: Cluster, going_on: Path
) -> None:
    result = evaluate(going_on.parent.parent)
    assert result.measured["checkpoint"] == str(going_on.with_name("step-00000099"))


def test_a_checkpoint_that_its_run_deletes_is_told_as_deleted(
    cluster: Cluster, going_on: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"was deleted while .*keep_checkpoints") as caught:
        evaluate(going_on)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
