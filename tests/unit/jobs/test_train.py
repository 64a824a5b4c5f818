import json
import shutil
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import pytest
import ray
import torch
from ray.exceptions import ActorDiedError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from phiray.config.load import config_from_file
from phiray.config.stages import AnyStageConfig, RunConfig
from phiray.config.training import ClusterConfig, ScheduledSamplingMethod
from phiray.data.mixture import RowRange
from phiray.data.prepare.text import prepare_text
from phiray.data.sources.annotations import Excluded
from phiray.errors import CheckpointError, ClusterError, ConfigError, DataError, ExitCode
from phiray.jobs import train as job
from phiray.jobs.payload import TrainedRun
from phiray.jobs.rendezvous import FileTorchConfig
from phiray.jobs.run_folder import create_run_folder, run_folder
from phiray.jobs.train import (
    RESULT_FILE,
    RunSummary,
    check_workers,
    cpus_reserved,
    read_summary,
    train_stage,
)
from phiray.node import num_cores
from phiray.stages.parts import PreparedData
from phiray.training.metrics_log import LOSS_METRIC, METRICS_NAME
from phiray.training.quarantine import append_quarantine
from phiray.types import BadRow
from tests.displays import SilentDisplay
from tests.stage_builders import align_config, scratch_config

PHI_2_CHECKPOINT_BYTES = 12 * 2_780_000_000
"""Weights and both moments in fp32."""
SUMMARY = RunSummary("scratch", "scratch", 3, 372, 5.5, {"loop_seconds": 1.5})


class StoppedTrainer:
    """Stands in for Ray's trainer, and is stopped by Ctrl-C before the first step."""

    options: ClassVar[dict[str, object]] = {}

    def __init__(self, *_: object, **options: object) -> None:
        StoppedTrainer.options = options

    def fit(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Ray does, which never takes it back
        sys.exit(0)


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused here must be refused before Ray is asked."""

    def refuse(**_: object) -> None:
        raise AssertionError("Ray was asked")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(job, "node_id", lambda: "here")  # it would start Ray, too


def test_more_workers_than_cores_are_refused_before_anything_is_made(
    world: Path, tmp_path: Path
) -> None:
    workers = num_cores() + 1
    config = scratch_config(world, tmp_path / "runs")
    config = config.model_copy(update={"cluster": ClusterConfig(workers=workers)})
    match = f"cluster.workers is {workers}, but this machine has {num_cores()} cores"
    with pytest.raises(ConfigError, match=match) as caught:
        train_stage(config, resume=False, display=SilentDisplay())
    assert int(caught.value.exit_code) == 78
    assert not (tmp_path / "runs").exists()
    assert not ray.is_initialized()


def test_as_many_workers_as_cores_are_fine() -> None:
    check_workers(ClusterConfig(workers=num_cores()))


def test_workers_with_gpus_are_counted_against_gpus_not_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = num_cores() + 1
    monkeypatch.setattr(torch.cuda, "device_count", lambda: many)
    check_workers(ClusterConfig(workers=many, use_gpu=True))
    match = rf"cluster\.workers is {many + 1}, but this machine has {many} GPUs"
    with pytest.raises(ConfigError, match=match):
        check_workers(ClusterConfig(workers=many + 1, use_gpu=True))


@pytest.mark.parametrize(("workers", "cpus"), [(1, 2), (2, 3), (3, 5), (4, 6)])
def test_each_worker_has_room_for_its_reader(workers: int, cpus: int) -> None:
    assert cpus_reserved(ClusterConfig(workers=workers)) == cpus


@pytest.mark.parametrize(("workers", "readers", "cpus"), [(1, 2, 2), (1, 3, 3), (2, 3, 5)])
def test_each_worker_has_room_for_all_its_readers(workers: int, readers: int, cpus: int) -> None:
    assert cpus_reserved(ClusterConfig(workers=workers), readers=readers) == cpus


def test_ray_gets_the_cpus_of_the_readers_that_are_set(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def session(*, num_cpus: int, attach: bool) -> AbstractContextManager[None]:
        assert not attach
        asked.append(num_cpus)
        return nullcontext()

    monkeypatch.setattr(job, "TorchTrainer", StoppedTrainer)
    monkeypatch.setattr(job, "ray_session", session)
    _prepare_nothing(monkeypatch, PreparedData("f", "q", {}))
    monkeypatch.setattr(job, "pin_models", lambda config: config)
    nowhere = tmp_path / "nowhere"
    config = align_config(world, tmp_path / "runs", clip=nowhere, language_model=nowhere)
    data = config.data.model_copy(update={"readers": 7})
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train_stage(config.model_copy(update={"data": data}), resume=False, display=SilentDisplay())
    assert asked == [5]  # one worker, and seven readers of half a CPU


def test_an_elastic_run_reserves_for_the_most_workers() -> None:
    assert cpus_reserved(ClusterConfig(workers=1, max_workers=2)) == 3
    most = num_cores() + 1
    match = f"cluster.max_workers is {most}, but this machine has {num_cores()} cores"
    with pytest.raises(ConfigError, match=match):
        check_workers(ClusterConfig(workers=1, max_workers=most))


def test_readers_with_nodes_of_their_own_take_nothing_of_their_worker() -> None:
    cluster = ClusterConfig(workers=2, reader_labels={"phiray/role": "decode"})
    assert cpus_reserved(cluster, readers=3) == 2


@pytest.mark.parametrize("key", ["worker_labels", "reader_labels"])
def test_labels_are_refused_on_one_machine_which_has_none(key: str) -> None:
    cluster = ClusterConfig.model_validate({key: {"phiray/role": "a", "zone": "b"}})
    match = rf"cluster\.{key} is phiray/role=a,zone=b, .*--set cluster\.{key}=\{{\}}"
    with pytest.raises(ConfigError, match=match):
        check_workers(cluster)


def test_occupied_folder_is_refused(world: Path, tmp_path: Path) -> None:
    config = scratch_config(world, tmp_path)
    create_run_folder(config)
    with pytest.raises(CheckpointError, match="exists and is not empty") as caught:
        train_stage(config, resume=False, display=SilentDisplay())
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_nothing_to_resume_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume") as caught:
        train_stage(scratch_config(world, tmp_path), resume=True, display=SilentDisplay())
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_missing_data_is_said_before_ray_starts_and_leaves_no_run(tmp_path: Path) -> None:
    config = scratch_config(tmp_path / "nowhere", tmp_path / "runs")
    with pytest.raises(DataError, match="nowhere") as caught:
        train_stage(config, resume=False, display=SilentDisplay())
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    assert not (tmp_path / "runs").exists()


def test_what_is_no_job_of_a_cluster_attaches_to_none_and_leaves_no_run(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ClusterError, match="no job of a cluster"):
        train_stage(
            scratch_config(world, tmp_path), resume=False, display=SilentDisplay(), attach=True
        )
    assert not list(tmp_path.iterdir())


def test_complete_run_is_not_trained_again(world: Path, tmp_path: Path) -> None:
    config = scratch_config(world, tmp_path)
    create_run_folder(config)
    (run_folder(config) / RESULT_FILE).write_text(json.dumps(asdict(SUMMARY)))
    assert train_stage(config, resume=True, display=SilentDisplay()) == SUMMARY
    assert read_summary(run_folder(config)) == SUMMARY


def test_summary_is_taken_from_the_metrics(world: Path, tmp_path: Path) -> None:
    records = [
        {"step": step, "train/loss_nats_per_token": 40.0 - step, "label_tokens": 10}
        for step in range(1, 21)
    ]
    (tmp_path / METRICS_NAME).write_text("".join(json.dumps(record) + "\n" for record in records))
    summary = job._summarise(scratch_config(world, tmp_path), tmp_path, TrainedRun(20, 1.234))
    assert summary == RunSummary(
        name="scratch",
        stage="scratch",
        steps=20,
        label_tokens=200,
        loss_nats_per_token=20.5,  # the mean of 21 and 20
        measured={"loop_seconds": 1.2},
    )


def test_summary_passes_over_steps_of_which_no_row_could_be_read(
    world: Path, tmp_path: Path
) -> None:
    lines = [{"step": 1, LOSS_METRIC: 2.0, "label_tokens": 3}, {"step": 2, "label_tokens": 0}]
    path = tmp_path / METRICS_NAME
    path.write_text("".join(json.dumps(record) + "\n" for record in lines * 10))
    config = scratch_config(world, tmp_path)
    summary = job._summarise(config, tmp_path, TrainedRun(20, 1.0))
    assert (summary.loss_nats_per_token, summary.label_tokens) == (2.0, 30)
    path.write_text("")
    with pytest.raises(CheckpointError, match="holds no loss of any step"):
        job._summarise(config, tmp_path, TrainedRun(20, 1.0))


@pytest.mark.parametrize("text", ["", "{", '{"name": 1}'])
def test_result_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / RESULT_FILE).write_text(text)
    with pytest.raises(CheckpointError, match=r"result\.json is no result of a run"):
        read_summary(tmp_path)


def test_lost_workers_leave_a_resumable_run(tmp_path: Path) -> None:
    causes = {0: RuntimeError("Connection closed by peer"), 1: ActorDiedError()}
    error = job._failure(WorkerGroupError("worker 1 died", causes), tmp_path)
    assert isinstance(error, ClusterError)
    assert error.exit_code == ExitCode.RESUMABLE
    assert "start it again with --resume" in error.message


def test_fault_of_ours_keeps_its_traceback(tmp_path: Path) -> None:
    error = WorkerGroupError("failed", {0: RuntimeError("CUDA out of memory")})
    assert job._failure(error, tmp_path) is error


def test_workers_that_never_started_are_not_called_lost(tmp_path: Path) -> None:
    error = job._failure(ControllerError(TimeoutError("no room")), tmp_path)
    assert isinstance(error, ClusterError)
    assert error.exit_code == ExitCode.NO_CLUSTER
    assert "could not start the workers" in error.message
    assert "lost" not in error.message


@pytest.mark.slow
def test_what_the_controller_unpickles_loads_no_heavy_library() -> None:
    heavy = ("transformers", "open_clip", "litgpt")
    code = (
        f"import sys, phiray.jobs.train;print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
    )
    assert result.stdout.strip() == "[]"


def test_ctrl_c_that_ray_took_is_ctrl_c_again_and_says_how_to_go_on(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = _notes_until_ctrl_c(scratch_config(world, tmp_path), monkeypatch)
    assert "goes on from its last checkpoint" in notes[-1]
    assert not any("left out" in note for note in notes)


def test_ctrl_c_is_ours_again_after_ray_has_fitted(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    _notes_until_ctrl_c(scratch_config(world, tmp_path), monkeypatch)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_became_no_row_is_told_once_by_reason_with_the_file_that_lists_it(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = ("empty caption", "missing image", "missing image")
    excluded = tuple(Excluded(reason, str(index)) for index, reason in enumerate(reasons))
    data = PreparedData("f", "q", {"rows": 7}, excluded)
    _prepare_nothing(monkeypatch, data)
    config = scratch_config(world, tmp_path)
    notes = _notes_until_ctrl_c(config, monkeypatch)
    file = run_folder(config).absolute() / "excluded.jsonl"
    told = f"scratch: 3 records left out (2 missing image, 1 empty caption): {file}"
    assert [note for note in notes if "left out" in note] == [told]
    assert len(file.read_text().splitlines()) == 3


def test_shares_of_several_sources_are_told(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = (RowRange("a", 0, 30), RowRange("b", 30, 20, 0.5))
    _prepare_nothing(monkeypatch, PreparedData("f", "q", {"rows": 50}, (), mixture))
    notes = _notes_until_ctrl_c(scratch_config(world, tmp_path), monkeypatch)
    told = [note for note in notes if "sources" in note or " rows x " in note]
    assert told[0] == "scratch: an epoch takes 40 rows from 2 sources"
    assert [line.split()[-1] for line in told[1:]] == ["75.0%", "25.0%"]


def test_finished_run_tells_of_rows_that_failed(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch_config(world, tmp_path)
    file = run_folder(config) / "quarantine.jsonl"

    def train(*_: object, **__: object) -> TrainedRun:
        record = {"step": 1, "train/loss_nats_per_token": 4.0, "label_tokens": 10}
        (file.parent / METRICS_NAME).write_text(json.dumps(record) + "\n")
        reasons = ("broken", "too long", "too long")
        bad = [BadRow(row_id, reason, "why") for row_id, reason in enumerate(reasons)]
        append_quarantine(file.parent, bad, step=1)
        return TrainedRun(1, 1.0)

    monkeypatch.setattr(job, "_fit", train)
    monkeypatch.setattr(job, "ray_session", lambda **_: nullcontext())
    notes: list[str] = []
    display = SilentDisplay()
    monkeypatch.setattr(display, "note", notes.append)
    assert train_stage(config, resume=False, display=display).bad_rows == 3
    assert read_summary(file.parent).bad_rows == 3
    assert notes[-1] == f"scratch: 3 rows could not be read (2 too long, 1 broken): {file}"


def test_resumed_run_follows_its_data_and_its_settings_say_so(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch_config(world, tmp_path / "runs")
    _notes_until_ctrl_c(config, monkeypatch)
    shutil.copytree(world, tmp_path / "moved")
    data = config.data.model_copy(update={"root": str(tmp_path / "moved"), "prepared": "anew"})
    moved = config.model_copy(update={"data": data.model_copy(update={"max_bad_fraction": 0.5})})
    notes = _notes_until_ctrl_c(moved, monkeypatch, resume=True)
    assert any("starting" in note for note in notes)
    assert config_from_file(run_folder(config) / "config.yaml") == moved
    book = next((tmp_path / "moved" / "gutenberg" / "books").iterdir())
    book.write_text(book.read_text() + "More.")
    stored = (run_folder(config) / "config.yaml").read_text()
    with pytest.raises(DataError, match="changed since it was started"):
        train_stage(moved, resume=True, display=SilentDisplay())
    assert (run_folder(config) / "config.yaml").read_text() == stored


def test_workers_wait_for_a_large_checkpoint_on_a_slow_disk(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _notes_until_ctrl_c(scratch_config(world, tmp_path), monkeypatch)
    torch_config = StoppedTrainer.options["torch_config"]
    assert isinstance(torch_config, FileTorchConfig)  # which opens no port
    assert PHI_2_CHECKPOINT_BYTES / torch_config.timeout_s < 20e6  # bytes per second


def test_workers_are_told_of_the_drivers_rows(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = scratch_config(world, tmp_path)
    _notes_until_ctrl_c(config, monkeypatch)
    told = StoppedTrainer.options["train_loop_config"]
    assert isinstance(told, dict)
    assert told["rows"] == prepare_text(config.data).manifest.fingerprint


def test_run_with_scheduled_sampling_begins_with_its_schedule(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = PreparedData("rows", "q", {})
    _prepare_nothing(monkeypatch, data)
    (tmp_path / "config.json").write_text("{}")  # a folder of Hugging Face's, never read here
    config = align_config(world, tmp_path, clip=tmp_path, language_model=tmp_path)
    method = ScheduledSamplingMethod(schedule="exponential", start=0.8, end=0.2)
    notes = _notes_until_ctrl_c(config.model_copy(update={"method": method}), monkeypatch)
    assert [note for note in notes if "gold" in note] == [
        "align: scheduled-sampling (exponential), probability of a gold token: 0.8 at step 1, "
        "0.4 at step 2, 0.2 at step 3"
    ]
    plain = config.model_copy(update={"run": RunConfig(name="plain", output_dir=str(tmp_path))})
    assert not any("gold" in note for note in _notes_until_ctrl_c(plain, monkeypatch))


def _notes_until_ctrl_c(
    config: AnyStageConfig, monkeypatch: pytest.MonkeyPatch, *, resume: bool = False
) -> list[str]:
    """Start a run that is stopped before its first step; return what a person was told."""
    display = SilentDisplay()
    notes: list[str] = []
    monkeypatch.setattr(display, "note", notes.append)
    monkeypatch.setattr(job, "TorchTrainer", StoppedTrainer)
    monkeypatch.setattr(job, "ray_session", lambda **_: nullcontext())
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        train_stage(config, resume=resume, display=display)
    return notes


def _prepare_nothing(monkeypatch: pytest.MonkeyPatch, data: PreparedData) -> None:
    """Let the stage say at once what its data is."""
    monkeypatch.setattr(job, "prepare_stage", lambda *_, **__: data)
