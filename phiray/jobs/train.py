"""Run a stage as a Ray Train job and wait for it, from settings to a finished run folder.

Source: Ray Train V2 (`TorchTrainer`); what it leaves to us is in DESIGN 8.
Limits: on one machine unless this process is a job of a cluster (`attach`).
"""

import json
import math
import signal
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from phiray.checkpoints.files import write_json
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.config.training import ClusterConfig, ScheduledSamplingMethod
from phiray.data.mixture import describe_mixture
from phiray.data.pipeline import CPUS_PER_LONE_READER, CPUS_PER_READER
from phiray.data.sources.annotations import say_counts
from phiray.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    ExitCode,
    error_from_payload,
)
from phiray.jobs.cluster.shared_storage import RAY_FOLDER, node_id
from phiray.jobs.display import Display
from phiray.jobs.faults import read_fault
from phiray.jobs.features import identify_features
from phiray.jobs.node_watch import noticed_nodes
from phiray.jobs.paths import with_absolute_paths
from phiray.jobs.payload import TrainedRun, WorkerPayload
from phiray.jobs.prepare import prepare_stage
from phiray.jobs.rendezvous import FileTorchConfig
from phiray.jobs.run_folder import (
    check_run_folder,
    create_run_folder,
    update_settings,
    write_excluded,
    write_manifest,
)
from phiray.jobs.tail import shown_steps
from phiray.jobs.trained_images import keep_trained_images, sign_trained_images
from phiray.jobs.waiting import Need, say_labels, told_of_waiting
from phiray.jobs.worker import num_readers, train_worker
from phiray.node import num_cores
from phiray.runtime import (
    CHECKPOINT_PATIENCE_SECONDS,
    check_job,
    ensure_token,
    expect_lost_nodes,
    kept_handler,
    ray_session,
)
from phiray.stages.parts import MANIFEST_FILE, PreparedData
from phiray.stages.pinned import identify_models, pin_models
from phiray.training.metrics_log import LOSS_METRIC, METRICS_NAME, read_metrics
from phiray.training.quarantine import QUARANTINE_NAME, read_quarantine
from phiray.training.scheduled_sampling import describe_schedule

RESULT_FILE = "result.json"
MAX_REQUESTS = 30
"""Requests for workers of a run that is elastic or on a cluster, until it gives up."""
RESIZE_SECONDS = 20.0
"""An elastic run looks for room for more workers so often. Each change costs a restart."""
CPUS_PER_WORKER = 1
"""What one worker reserves with Ray; with how many threads it computes is another matter."""


@dataclass(frozen=True)
class RunSummary:
    """What a finished run is told by; it stands in `result.json`."""

    name: str
    stage: str
    steps: int
    label_tokens: int
    """Tokens learnt from, over all steps."""
    loss_nats_per_token: float
    """Mean over the last tenth of the steps."""
    measured: dict[str, float]
    """What may differ between two runs of the same settings."""
    bad_rows: int = 0
    """Rows that failed when they were read; `quarantine.jsonl` lists them."""


def train_stage(
    config: AnyStageConfig,
    *,
    resume: bool,
    display: Display,
    callbacks: Sequence[UserCallback] = (),
    attach: bool = False,
    sign_images: bool = True,
) -> RunSummary:
    """Train one stage to its last step.

    Args:
        config: the stage's settings; relative paths are those of this process.
        resume: go on with the run of that name from its newest committed checkpoint.
        display: told of progress.
        callbacks: told by Ray of each checkpoint.
        attach: this process is a job of a cluster, whose workers train.
        sign_images: look at all images first, where the settings say so; trials of a search do not.

    Raises:
        PhirayError: of the kind and exit code that fits; the run stays resumable.
    """
    if attach:
        check_job()
    else:
        check_workers(config.cluster)
        ensure_token()
    config = with_absolute_paths(config)
    run_dir = check_run_folder(config, resume=resume)
    if (run_dir / RESULT_FILE).exists():
        display.note(f"{run_dir.name} is already complete.")
        return read_summary(run_dir)
    data = prepare_stage(config, attach=attach, progress=display.progress, note=display.note)
    pinned = _open_run(
        config, run_dir, data=data, resume=resume, display=display, sign_images=sign_images
    )
    readers = num_readers(config)
    with (
        ray_session(num_cpus=cpus_reserved(config.cluster, readers=readers), attach=attach),
        shown_steps(run_dir, display=display, max_steps=config.training.max_steps),
    ):
        waiting = told_of_needs(config, run_dir, display=display) if attach else nullcontext()
        try:
            with waiting:
                trained = _fit(pinned, run_dir, data=data, callbacks=callbacks, attach=attach)
        except (KeyboardInterrupt, SystemExit):
            display.note(
                f"{run_dir.name}: stopped. It goes on from its last checkpoint with `train "
                "--resume`, or with the same `demo` or `tune`."
            )
            raise
    summary = _summarise(config, run_dir, trained)
    write_json(run_dir / RESULT_FILE, asdict(summary))  # at once: it says that the run is complete
    _tell_bad_rows(run_dir, display=display)
    return summary


def told_of_needs(
    config: AnyStageConfig, run_dir: Path, *, display: Display
) -> AbstractContextManager[None]:
    """Say what workers and readers of a run wait for, until it makes a step."""
    workers, readers = needs_of(config)
    return told_of_waiting(run_dir, workers, readers=readers, display=display)


def needs_of(config: AnyStageConfig) -> tuple[Need, Need | None]:
    """Return what the fewest workers reserve, and what readers on nodes of their own do."""
    cluster, readers = config.cluster, num_readers(config)
    workers = Need("workers", needed_resources(cluster, readers=readers), cluster.worker_labels)
    cpus = {"CPU": float(cluster.workers * readers * CPUS_PER_LONE_READER)}
    elsewhere = Need("readers", cpus, cluster.reader_labels) if cluster.reader_labels else None
    return workers, elsewhere


def _open_run(
    config: AnyStageConfig,
    run_dir: Path,
    *,
    data: PreparedData,
    resume: bool,
    display: Display,
    sign_images: bool,
) -> AnyStageConfig:
    """Make the folder, or find it to be of the same run.

    Returns:
        The settings with each run that they start from pinned to a checkpoint.
    """
    pinned = pin_models(config)
    signed = None
    if sign_images and not resume:
        signed = sign_trained_images(pinned, data, progress=display.progress)
    if not resume:
        create_run_folder(config)  # only now: a mistake in the inputs leaves no run behind
        keep_trained_images(run_dir, signed)
    models = identify_models(pinned, progress=display.progress) | identify_features(data)
    write_manifest(run_dir, data=data, models=models, seed=config.run.seed)
    update_settings(config)  # only now: data and models are those that the run was started with
    _tell_excluded(run_dir, data, display=display)
    for line in describe_mixture(data.mixture):
        display.note(f"{run_dir.name}: {line}")
    display.note(f"{run_dir.name}: starting {config.cluster.workers} worker(s), 10 to 40 s")
    method = config.method if isinstance(config, AlignConfig | InstructConfig) else None
    if isinstance(method, ScheduledSamplingMethod):
        told = describe_schedule(method, max_steps=config.training.max_steps)
        display.note(f"{run_dir.name}: {told}")
    return pinned


def read_summary(run_dir: Path) -> RunSummary:
    """Read the summary of a complete run.

    Raises:
        CheckpointError: if it cannot be read.
    """
    path = run_dir / RESULT_FILE
    try:
        return RunSummary(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is no result of a run ({error}). Expected what `phiray train` wrote. Delete "
            "it, and --resume writes it again."
        ) from error


def check_workers(cluster: ClusterConfig) -> None:
    """Refuse what this machine cannot give, before Ray is asked.

    Workers without a core only wait for one another; Ray waits minutes for a GPU that is not there,
    and for ever for a label that no node has.

    Raises:
        ConfigError: with both numbers, or the labels.
    """
    asked = {"worker_labels": cluster.worker_labels, "reader_labels": cluster.reader_labels}
    for name, labels in asked.items():
        if labels:
            raise ConfigError(
                f"cluster.{name} is {say_labels(labels)}, but the run was to start on this machine "
                "alone, which has no labels. They choose among the nodes of a cluster. Submit the "
                f"run with --address, or leave them out: --set cluster.{name}={{}}."
            )
    workers, cores = cluster.most_workers, num_cores()
    key = "cluster.workers" if cluster.max_workers is None else "cluster.max_workers"
    if cluster.use_gpu and workers > (gpus := torch.cuda.device_count()):
        raise ConfigError(
            f"cluster.use_gpu is true and {key} is {workers}, but this machine has "
            f"{gpus} GPUs that torch can use. Each worker needs one. Use fewer workers, or the "
            "CPU: --set cluster.use_gpu=false --set training.precision=fp32."
        )
    if not cluster.use_gpu and workers > cores:
        raise ConfigError(
            f"{key} is {workers}, but this machine has {cores} cores. Each worker needs "
            f"one. Use at most {cores}, e.g. --workers {cores}."
        )


def cpus_reserved(cluster: ClusterConfig, *, readers: int = 1) -> int:
    """Return the logical CPUs that Ray must have, rounded up: workers, and readers beside each.

    With less, a reader waits for its place for ever, and all workers for its rows.
    """
    return math.ceil(cluster.most_workers * cpus_per_worker(cluster, readers=readers))


def cpus_per_worker(cluster: ClusterConfig, *, readers: int) -> float:
    """Return the logical CPUs that a worker reserves, for itself and for readers beside it.

    Were readers to reserve their own, a node with room for one more worker could be left with none
    for its readers: they, and with them all workers, would wait for ever. Only readers that have
    nodes of their own (`cluster.reader_labels`) do.
    """
    beside = 0 if cluster.reader_labels else readers
    return CPUS_PER_WORKER + beside * CPUS_PER_READER


def needed_resources(cluster: ClusterConfig, *, readers: int) -> dict[str, float]:
    """Return what the fewest workers reserve, by the name of Ray's resource."""
    cpus = cluster.workers * cpus_per_worker(cluster, readers=readers)
    return {"CPU": cpus, "GPU": float(cluster.workers * cluster.use_gpu)}


def _tell_excluded(run_dir: Path, data: PreparedData, *, display: Display) -> None:
    """Say how many records became no row and why, and where all of them are listed."""
    if not data.excluded:
        return
    path = write_excluded(run_dir, data.excluded)
    counts = say_counts(Counter(item.reason for item in data.excluded))
    display.note(f"{run_dir.name}: {len(data.excluded)} records left out ({counts}): {path}")


def _tell_bad_rows(run_dir: Path, *, display: Display) -> None:
    """Say how many rows failed when they were read and why, and where all of them are listed."""
    reasons = read_quarantine(run_dir)
    if reasons:
        display.note(
            f"{run_dir.name}: {len(reasons)} rows could not be read "
            f"({say_counts(Counter(reasons.values()))}): {run_dir / QUARANTINE_NAME}"
        )


def _scaling(cluster: ClusterConfig, *, readers: int) -> ScalingConfig:
    """Ask for workers, each with its share of a node."""
    fewest, most = cluster.workers, cluster.max_workers
    return ScalingConfig(
        num_workers=fewest if most is None else (fewest, most),
        elastic_resize_monitor_interval_s=RESIZE_SECONDS,
        use_gpu=cluster.use_gpu,
        label_selector=cluster.worker_labels or None,
        resources_per_worker={
            "CPU": cpus_per_worker(cluster, readers=readers),
            **({"GPU": 1} if cluster.use_gpu else {}),
        },
    )


def _fit(
    config: AnyStageConfig,
    run_dir: Path,
    *,
    data: PreparedData,
    callbacks: Sequence[UserCallback],
    attach: bool,
) -> TrainedRun:
    payload: WorkerPayload = {
        "config": config.model_dump(mode="json"),
        "run_dir": str(run_dir),
        "manifest": (run_dir / MANIFEST_FILE).read_text(encoding="utf-8"),
        "rows": data.quick_fingerprint,
        "features": None if data.features is None else str(data.features),
        "start": uuid.uuid4().hex[:12],
        "node": node_id(),
    }
    is_elastic = config.cluster.max_workers is not None
    if is_elastic:
        expect_lost_nodes()
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=payload,
        scaling_config=_scaling(config.cluster, readers=num_readers(config)),
        torch_config=(TorchConfig if attach else FileTorchConfig)(
            backend="nccl" if config.cluster.use_gpu else "gloo",
            timeout_s=CHECKPOINT_PATIENCE_SECONDS,
        ),
        # Ray's own record can refuse a start that ours allows: each start has a fresh name.
        run_config=RunConfig(
            name=payload["start"],
            storage_path=str(run_dir / RAY_FOLDER),
            callbacks=list(callbacks),
            failure_config=FailureConfig(
                max_failures=config.cluster.max_failures,
                max_preemption_failures=-1,  # nodes that go after a notice, as often as they do
                # each is one more request for workers, after one that was met in vain: nodes of a
                # cluster may go while workers start on them
                controller_failure_limit=MAX_REQUESTS if is_elastic or attach else 0,
            ),
        ),
    )
    try:
        with (
            kept_handler(signal.SIGINT),  # Ray's would outlive `fit`, and swallow every Ctrl-C
            noticed_nodes() if is_elastic else nullcontext(),
        ):
            outcome = trainer.fit().return_value
    except TrainingFailedError as error:
        outcome = read_fault(payload)
        if outcome is None:
            raise _failure(error, run_dir) from error
    except SystemExit as stop:
        # `fit` takes Ctrl-C for itself, ends its workers, and then the process, with 0 or 1.
        raise KeyboardInterrupt from stop
    if "fault" in outcome:
        raise _met_fault(run_dir, outcome["fault"])
    if "error" in outcome:
        raise error_from_payload(outcome["error"])
    return TrainedRun(**outcome["run"])


def _summarise(config: AnyStageConfig, run_dir: Path, trained: TrainedRun) -> RunSummary:
    records = read_metrics(run_dir)
    if not any(LOSS_METRIC in record for record in records):
        raise CheckpointError(
            f"{run_dir / METRICS_NAME} holds no loss of any step. Expected one line a step. Put it "
            "back, or train again under another run.name."
        )
    last = records[-max(1, len(records) // 10) :]
    losses = [float(str(record[LOSS_METRIC])) for record in last if LOSS_METRIC in record]
    return RunSummary(
        name=config.run.name,
        stage=config.stage,
        steps=trained.steps,
        label_tokens=sum(int(str(record["label_tokens"])) for record in records),
        loss_nats_per_token=sum(losses) / max(1, len(losses)),
        measured={"loop_seconds": round(trained.loop_seconds, 1)},
        bad_rows=len(read_quarantine(run_dir)),
    )


def _met_fault(run_dir: Path, traceback: str) -> RuntimeError:
    return RuntimeError(f"a worker of {run_dir.name} met a fault of phiray's:\n{traceback}")


def _failure(error: Exception, run_dir: Path) -> Exception:
    """Return what to raise: a lost worker is resumable, any other failure keeps its traceback.

    Ray tells of a lost worker by an error of its own. The workers that lost their peer raise, too;
    so one of Ray's is enough.
    """
    if isinstance(error, ControllerError):
        return ClusterError(
            f"Ray could not start the workers of {run_dir.name}: {error}. It needs the CPUs, GPUs "
            "and memory that the settings ask for. Run `phiray doctor`. What was committed is "
            "safe: --resume goes on from there."
        )
    causes = getattr(error, "worker_failures", {}).values()
    if causes and not any(type(cause).__module__.startswith("ray.") for cause in causes):
        return error
    return ClusterError(
        f"Training of {run_dir.name} stopped: {error}. Workers were lost more often than "
        "cluster.max_failures allows. Its committed steps are safe: start it again with --resume.",
        exit_code=ExitCode.RESUMABLE,
    )
