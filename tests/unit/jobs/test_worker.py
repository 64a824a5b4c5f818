import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import ray.train
import ray.train.torch
import torch
from ray.train import PreemptionInfo

from phiray.batch import StepInput
from phiray.config.stages import AnyStageConfig
from phiray.config.training import ClusterConfig
from phiray.errors import DataError, ExitCode, error_from_payload
from phiray.jobs import worker
from phiray.jobs.cluster import shared_storage
from phiray.jobs.faults import read_fault
from phiray.jobs.payload import WorkerPayload
from phiray.jobs.run_folder import run_folder
from phiray.jobs.worker import num_readers, num_threads, train_worker
from phiray.node import num_cores
from phiray.stages.parts import CARRIED_MANIFEST_FILE
from phiray.stages.restore import load_model
from phiray.training.collective import Collective
from phiray.training.metrics_log import EVENTS_NAME, read_metrics
from tests.stage_builders import instruct_config, scratch_config, training
from tests.step_reader import read_steps


class Session:
    """What a worker asks of Ray, answered in this process."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, str]] = []
        self.stop_after: int | None = None
        self.asked: dict[str, object] = {}
        self.preemption: PreemptionInfo | None = None
        self.world_size = 1

    def report(self, metrics: dict[str, float], **options: object) -> None:
        self.reports.append((int(metrics["step"]), str(options["checkpoint_dir_name"])))
        if self.stop_after == len(self.reports):
            raise KeyboardInterrupt("killed")  # no error of phiray's

    def get_local_world_size(self) -> int:
        return 1

    def get_world_size(self) -> int:
        return self.world_size

    def stream_steps(self, *arguments: object, **options: object) -> Iterator[StepInput]:
        for name in ("decode", "num_readers", "num_pipelines", "reader_labels"):  # Ray's matter
            self.asked[name] = options.pop(name)
        read: Callable[..., Iterator[StepInput]] = read_steps
        return read(*arguments, **options)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    session = Session()
    monkeypatch.setattr(worker, "stream_steps", session.stream_steps)
    monkeypatch.setattr(ray.train, "report", session.report)
    monkeypatch.setattr(ray.train, "get_preemption_info", lambda: session.preemption)
    monkeypatch.setattr(ray.train, "get_context", lambda: session)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(shared_storage, "node_id", lambda: "here")
    threads = torch.get_num_threads()
    yield session
    torch.set_num_threads(threads)


def payload(config: AnyStageConfig) -> WorkerPayload:
    return {
        "config": config.model_dump(mode="json"),
        "run_dir": str(run_folder(config)),
        "manifest": '{"seed": 0}',
        "rows": "never compared on the driver's node",
        "features": None,
        "start": "first",
        "node": "here",
    }


def losses(run_dir: Path) -> list[object]:
    return [record["train/loss_nats_per_token"] for record in read_metrics(run_dir)]


def test_worker_trains_to_the_last_step_and_answers_in_json(
    world: Path, tmp_path: Path, session: Session
) -> None:
    config = scratch_config(world, tmp_path)
    answer = train_worker(payload(config))
    assert "error" not in answer, answer
    run = json.loads(json.dumps(answer))["run"]
    assert run["steps"] == 3
    assert session.reports == [(3, "step-00000003")]
    loaded = load_model(run_folder(config))
    assert loaded.state["step"] == 3
    assert (loaded.checkpoint_path / CARRIED_MANIFEST_FILE).read_text() == '{"seed": 0}'
    asked = {"decode": "worker", "num_readers": 1, "num_pipelines": 1, "reader_labels": {}}
    assert session.asked == asked


@pytest.mark.parametrize(("labels", "times"), [({}, 1), ({"role": "decode"}, 0)])
def test_worker_tells_of_a_cache_that_keeps_nothing_and_trains(
    world: Path, tmp_path: Path, session: Session, labels: dict[str, str], times: int
) -> None:
    """Readers on other nodes keep theirs there."""
    (tmp_path / "file").touch()
    config = scratch_config(world, tmp_path / "runs")
    data = config.data.model_copy(update={"node_cache": str(tmp_path / "file")})
    cluster = ClusterConfig(reader_labels=labels)
    answer = train_worker(payload(config.model_copy(update={"data": data, "cluster": cluster})))
    assert "error" not in answer, answer
    text = (run_folder(config) / EVENTS_NAME).read_text()
    assert text.count("no node cache") == text.count("File exists") == times


@pytest.mark.parametrize(("watcher", "answered"), [("1", [1]), ("0", [])])
def test_worker_answers_a_notice_of_ray_where_ray_gives_any(
    world: Path,
    tmp_path: Path,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    watcher: str,
    answered: list[int],
) -> None:
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", watcher)
    session.preemption = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a" * 56: [0]})
    config = scratch_config(world, tmp_path)
    assert "run" in train_worker(payload(config))
    text = (run_folder(config) / EVENTS_NAME).read_text()
    events = [json.loads(line) for line in text.splitlines()]
    assert [e["step"] for e in events if e["event"] == "notice answered"] == answered
    assert session.reports == [(3, "step-00000003")]


def test_worker_goes_on_from_the_newest_checkpoint_bit_for_bit(
    world: Path, tmp_path: Path, session: Session
) -> None:
    each_step = training(5).model_copy(update={"checkpoint_every_steps": 2, "log_row_ids": True})
    whole = scratch_config(world, tmp_path, name="whole")
    whole = whole.model_copy(update={"training": each_step})
    train_worker(payload(whole))
    session.stop_after = len(session.reports) + 1
    cut = scratch_config(world, tmp_path, name="cut").model_copy(update={"training": each_step})
    with pytest.raises(KeyboardInterrupt, match="killed"):
        train_worker(payload(cut))
    assert len(losses(run_folder(cut))) == 2
    session.stop_after = None
    train_worker(payload(cut))
    assert losses(run_folder(cut)) == losses(run_folder(whole))
    weights = [load_model(run_folder(config)).model.state_dict() for config in (whole, cut)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_worker_goes_on_with_other_settings_that_change_nothing_learnt(
    world: Path, tmp_path: Path, session: Session
) -> None:
    each_two = training(5).model_copy(update={"checkpoint_every_steps": 2})
    whole = scratch_config(world, tmp_path, name="whole").model_copy(update={"training": each_two})
    train_worker(payload(whole))
    session.stop_after = len(session.reports) + 1
    cut = scratch_config(world, tmp_path, name="cut").model_copy(update={"training": each_two})
    with pytest.raises(KeyboardInterrupt, match="killed"):
        train_worker(payload(cut))
    session.stop_after = None
    other = {
        "gradient_accumulation_steps": 2,
        "checkpoint_every_steps": 1,
        "keep_checkpoints": 1,
        "log_row_ids": True,
    }
    changed = cut.model_copy(
        update={
            "training": each_two.model_copy(update=other),
            "data": cut.data.model_copy(update={"max_bad_fraction": 1.0}),
        }
    )
    assert "error" not in train_worker(payload(changed))
    found, wanted = losses(run_folder(cut)), losses(run_folder(whole))
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64),
        torch.tensor(wanted, dtype=torch.float64),
        rtol=1e-5,
        atol=0,
    )
    kept = [path.name for path in (run_folder(cut) / "checkpoints").iterdir()]
    assert kept == ["step-00000005"]


def test_worker_gives_a_users_mistake_back_as_a_value(tmp_path: Path, session: Session) -> None:
    config = scratch_config(tmp_path / "nowhere", tmp_path)
    answer = train_worker(payload(config))
    error = json.loads(json.dumps(answer))["error"]
    assert error["exit_code"] == ExitCode.MISSING_INPUT
    assert "nowhere" in error["message"]


def test_mistake_that_one_of_several_workers_meets_fails_it_and_is_handed_over(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its peers would otherwise wait for it in their next collective."""
    config = scratch_config(tmp_path / "nowhere", tmp_path)
    run_folder(config).mkdir(parents=True)
    monkeypatch.setattr(worker, "current_collective", lambda: Collective(rank=1, world_size=2))
    monkeypatch.setattr(worker, "refuse_unshared", lambda *_: None)  # it would ask the other one
    with pytest.raises(DataError, match="nowhere"):
        train_worker(payload(config))
    error = error_from_payload(train_worker(payload(config))["error"])  # type: ignore[arg-type]
    assert error.exit_code == ExitCode.MISSING_INPUT


def test_worker_lets_a_fault_of_ours_through(
    world: Path, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError("a bug")

    config = scratch_config(world, tmp_path)
    run_folder(config).mkdir(parents=True)
    monkeypatch.setattr(worker, "stage_module", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        train_worker(payload(config))


def test_fault_is_met_once_and_handed_over_by_the_next_workers(
    world: Path, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch_config(world, tmp_path)
    run_folder(config).mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(worker, "stream_steps", None)  # a fault: None cannot be called
        with pytest.raises(TypeError, match="not callable"):
            train_worker(payload(config))
    assert "not callable" in str(train_worker(payload(config))["fault"])
    again: WorkerPayload = {**payload(config), "start": "second"}
    assert "fault" not in train_worker(again)


@pytest.mark.parametrize(
    ("text", "is_told"),
    [("[pair.cc:561] Connection closed by peer [127.0.0.1]", False), ("3 is not 4\nC++", True)],
)
def test_what_may_pass_is_no_fault_and_is_told_unless_a_peer_was_lost(
    world: Path,
    tmp_path: Path,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    *,
    text: str,
    is_told: bool,
) -> None:
    config = scratch_config(world, tmp_path)
    run_folder(config).mkdir(parents=True)

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(worker, "stream_steps", fail)
    with pytest.raises(RuntimeError, match=r"closed by peer|3 is not 4"):
        train_worker(payload(config))
    assert not (run_folder(config) / "fault.json").exists()
    file = run_folder(config) / EVENTS_NAME
    lines = file.read_text().splitlines() if file.exists() else []
    told = [json.loads(line)["error"] for line in lines]
    assert told == (["RuntimeError: 3 is not 4"] if is_told else [])


@pytest.mark.parametrize("error", [ValueError("no process group"), RuntimeError("it was aborted")])
def test_what_a_worker_meets_while_ray_ends_it_is_no_fault(
    world: Path,
    tmp_path: Path,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """Ray takes the process group of two workers away before it ends them."""
    session.world_size = 2
    config = scratch_config(world, tmp_path)
    run_folder(config).mkdir(parents=True)

    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(worker, "stream_steps", fail)
    with pytest.raises(type(error), match=str(error)):
        train_worker(payload(config))
    assert read_fault(payload(config)) is None
    assert not (run_folder(config) / EVENTS_NAME).exists()


def test_full_disk_is_kept_for_the_driver_with_its_exit_code(
    world: Path, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch_config(world, tmp_path)
    run_folder(config).mkdir(parents=True)

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/x")

    monkeypatch.setattr(worker, "stream_steps", fail)
    told = payload(config)
    with pytest.raises(OSError, match="No space left"):
        train_worker(told)
    outcome = read_fault(told)
    assert outcome is not None
    error = cast(dict[str, object], outcome["error"])
    assert error["exit_code"] == ExitCode.IO
    assert "/tmp/x" in str(error["message"])


def test_short_memory_of_a_gpu_is_met_once_and_says_what_to_set(
    world: Path, tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch_config(world, tmp_path)
    run_folder(config).mkdir(parents=True)

    def exhaust(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    monkeypatch.setattr(worker, "stream_steps", exhaust)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        train_worker(payload(config))  # it ends, so that its peers do not wait
    error = error_from_payload(train_worker(payload(config))["error"])  # type: ignore[arg-type]
    assert error.exit_code == ExitCode.RESUMABLE
    assert "Tried to allocate 2 GiB. One micro-batch must fit." in error.message
    assert "--set training.gradient_accumulation_steps=2 (now 1)" in error.message


def test_readers_are_those_of_the_settings(tmp_path: Path) -> None:
    config = instruct_config(tmp_path, tmp_path, checkpoint=tmp_path)
    data = config.data.model_copy(update={"readers": 3})
    assert num_readers(config) == 1
    assert num_readers(config.model_copy(update={"data": data})) == 3


def test_threads_share_the_cores_of_a_machine_unless_set() -> None:
    assert num_threads(ClusterConfig(), workers_here=1) == num_cores()
    assert num_threads(ClusterConfig(), workers_here=10 * num_cores()) == 1
    assert num_threads(ClusterConfig(cpus_per_worker=7), workers_here=2) == 7
