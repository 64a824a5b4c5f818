"""What each Ray Train worker runs: it joins a stage with its pipeline and the loop.

Source: Ray Train V2's function trainer; DESIGN 8 (references to our checkpoints, no upload).
Limits: imports neither transformers, open_clip nor litgpt: a worker loads what its stage needs.
"""

import json
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint

from phiray.batch import StepInput
from phiray.config.data import ImageDataConfig
from phiray.config.stages import STAGE_ADAPTER, AnyStageConfig
from phiray.config.training import ClusterConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.order import OrderSettings, micro_batches, plan_order, rank_positions
from phiray.data.pipeline import resolve_decode, stream_steps
from phiray.errors import ClusterError, ExitCode, PhirayError, exit_code_of, payload_from_error
from phiray.jobs.cluster.shared_storage import check_rows, node_name, refuse_unshared
from phiray.jobs.faults import read_fault, write_fault
from phiray.jobs.features import with_cached_features
from phiray.jobs.gauges import StepGauges
from phiray.jobs.payload import TrainedRun, WorkerPayload
from phiray.jobs.preemption import ask_preemption
from phiray.jobs.stop import until_stopped
from phiray.jobs.trained_images import carried_images
from phiray.node import num_cores
from phiray.planning.given import describe_model
from phiray.planning.workload import count_flops, estimate_rows
from phiray.runtime import hears_of_drained_nodes, quiet_ray
from phiray.stages.parts import CARRIED_MANIFEST_FILE, StageParts, checkpoint_texts
from phiray.stages.registry import stage_module
from phiray.stages.validation import build_validation
from phiray.training.collective import Collective, current_collective
from phiray.training.loop import LoopSettings, run_loop
from phiray.training.metrics_log import Metrics, log_event
from phiray.training.run_files import open_run, resume
from phiray.training.state import build_state

_MAY_PASS = (RuntimeError, OSError, MemoryError)
"""What a lost peer, device or disk raises: Ray starts the workers again, from the checkpoint."""

_LOST_PEER = ("Connection closed by peer", "Connection reset by peer")
"""How gloo words that another worker is gone; that is what this one met, and no cause."""
_SUMMARY_LENGTH = 200


def num_readers(config: AnyStageConfig) -> int:
    """Return the Ray Data actors that read for each worker; tokens need no more than one."""
    return config.data.readers if isinstance(config.data, ImageDataConfig) else 1


def num_threads(cluster: ClusterConfig, *, workers_here: int) -> int:
    """Return the CPU threads that each of so many workers on this machine computes with."""
    return cluster.cpus_per_worker or max(1, num_cores() // workers_here)


def train_worker(payload: WorkerPayload) -> dict[str, object]:
    """Train, and return the outcome as plain JSON.

    A user's mistake comes back as a value: Ray would otherwise start the run again, only to fail
    in the same way. With several workers it is written down, as is a fault of phiray's or a GPU
    that is too small, and handed over by the workers that Ray starts in place of these: one rank
    alone may meet it, and only its failure stops the others.
    """
    try:
        refused = refuse_unshared(payload, current_collective()) or read_fault(payload)
        return refused or {"run": asdict(_train(payload))}
    except PhirayError as error:
        outcome: dict[str, object] = {"error": payload_from_error(error)}
        if current_collective().world_size > 1:
            write_fault(payload, outcome)
            raise
        return outcome
    except torch.OutOfMemoryError as error:
        write_fault(payload, {"error": payload_from_error(_short_memory(payload, error))})
        raise
    except _MAY_PASS as error:
        if not _is_ended_by_ray():
            _log_stop(payload, error)
            _keep_full_disk(payload, error)
        raise
    except Exception:
        if not _is_ended_by_ray():
            write_fault(payload, {"fault": traceback.format_exc()})
        raise


def _is_ended_by_ray() -> bool:
    """Tell whether Ray has taken the process group away, as it does before it ends its workers.

    It does so when a node's time is over or an elastic run changes its size. The loop runs on for
    that moment, and what it then meets is no fault.
    """
    workers = ray.train.get_context().get_world_size()
    return workers > 1 and not torch.distributed.is_initialized()


def _short_memory(payload: WorkerPayload, error: Exception) -> ClusterError:
    training = _config(payload).training
    accumulation = training.gradient_accumulation_steps
    return ClusterError(
        f"A worker's GPU has too little memory: {_summary(error)}. One micro-batch must fit. "
        "Start again with --resume and smaller ones: --set training.gradient_accumulation_steps="
        f"{min(2 * accumulation, training.global_batch_size)} (now {accumulation}).",
        exit_code=ExitCode.RESUMABLE,
    )


def _keep_full_disk(payload: WorkerPayload, error: Exception) -> None:
    """Keep what no new start mends: a full disk or a forbidden folder, wherever it was met."""
    code = exit_code_of(error) if isinstance(error, OSError) else None
    if code is None:
        return
    told = PhirayError(
        f"A worker could not write or read {getattr(error, 'filename', None) or 'a file'}: "
        f"{_summary(error)}. What was committed is safe. Mend it, and start again with --resume.",
        exit_code=code,
    )
    with suppress(PhirayError, OSError):  # the disk that is full may be this one
        write_fault(payload, {"error": payload_from_error(told)})


def _log_stop(payload: WorkerPayload, error: Exception) -> None:
    """Let the person who waits see why the workers start anew, unless a peer was lost."""
    if isinstance(error, torch.distributed.DistError) or any(m in str(error) for m in _LOST_PEER):
        return
    with suppress(PhirayError):  # a full disk, say, must not hide the error itself
        log_event(Path(payload["run_dir"]), "stopped", error=_summary(error))


def _summary(error: Exception) -> str:
    """Return kind and first line of an error, as a traceback ends with them."""
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    return lines[0][:_SUMMARY_LENGTH].rstrip(".:")


def _train(payload: WorkerPayload) -> TrainedRun:
    quiet_ray()
    config = _config(payload)
    context = ray.train.get_context()
    torch.set_num_threads(num_threads(config.cluster, workers_here=context.get_local_world_size()))
    collective = current_collective()
    device = ray.train.torch.get_device()
    parts = with_cached_features(
        stage_module(config.stage).build(config), config, features=payload["features"]
    )
    check_rows(payload, [parts.source, parts.validation])
    state = build_state(
        parts.objective, training=config.training, collective=collective, device=device
    )
    run_dir = Path(payload["run_dir"])
    texts = checkpoint_texts(config, parts) | {CARRIED_MANIFEST_FILE: payload["manifest"]}
    files = open_run(run_dir, texts | carried_images(run_dir), collective=collective)
    resume(state, files, collective=collective)
    _tell_unusable_cache(config, files.run_dir, collective=collective)
    order = _order(config, parts)
    settings = LoopSettings(
        training=config.training,
        device=device,
        seed=config.run.seed,
        num_rows=parts.source.num_rows,
        rows_per_epoch=order.rows_per_epoch,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    start = time.monotonic()
    result = run_loop(
        state,
        until_stopped(
            _steps(config, parts, order=order, start_step=state.step, collective=collective),
            files.run_dir,
        ),
        settings=settings,
        files=files,
        collective=collective,
        validate=build_validation(
            parts,
            config.training,
            most_workers=config.cluster.most_workers,
            max_bad_fraction=config.data.max_bad_fraction,
            device=device,
            collective=collective,
        ),
        on_checkpoint=_report,
        on_step=StepGauges(config.run.name, flops_per_row=_flops_per_row(config, parts)),
        ask_notice=ask_preemption if hears_of_drained_nodes() else None,
    )
    return TrainedRun(steps=result.step, loop_seconds=time.monotonic() - start)


def _tell_unusable_cache(config: AnyStageConfig, run_dir: Path, *, collective: Collective) -> None:
    """Tell of workers' nodes that keep no copies: the run goes on, slower than it was meant to."""
    data = config.data
    fault = NodeCache(data.node_cache, max_gb=data.node_cache_gb).fault()
    told = collective.gather(None if fault is None else f"{node_name()}: {fault}")
    nodes = sorted({item for item in told if item is not None})
    # readers on nodes of their own keep the copies there; those nodes are not looked at
    if nodes and collective.rank == 0 and not config.cluster.reader_labels:
        log_event(run_dir, "no node cache", nodes=nodes)


def _flops_per_row(config: AnyStageConfig, parts: StageParts) -> float:
    """Return the model FLOPs of a row, by the closed form that `phiray plan` shows."""
    given = describe_model(parts.description)
    return count_flops(config, given, estimate_rows(config, given, longest=None)).total


def _config(payload: WorkerPayload) -> AnyStageConfig:
    return STAGE_ADAPTER.validate_python(payload["config"])


def _order(config: AnyStageConfig, parts: StageParts) -> OrderSettings:
    """Settle the order of the rows, which is the same on all ranks."""
    return plan_order(
        parts.source,
        seed=config.run.seed,
        global_batch_size=config.training.global_batch_size,
        group_by_length=isinstance(config.data, ImageDataConfig) and config.data.group_by_length,
    )


def _steps(
    config: AnyStageConfig,
    parts: StageParts,
    *,
    order: OrderSettings,
    start_step: int,
    collective: Collective,
) -> Iterator[StepInput]:
    """Stream this rank's input of all remaining steps."""
    data, training = config.data, config.training
    positions = rank_positions(
        order,
        rank=collective.rank,
        world=collective.world_size,
        accumulation=micro_batches(
            training.gradient_accumulation_steps,
            most_workers=config.cluster.most_workers,
            world=collective.world_size,
        ),
        start_step=start_step,
        num_steps=training.max_steps - start_step,
    )
    decode = data.decode if isinstance(data, ImageDataConfig) else "worker"
    return stream_steps(
        parts.source,
        positions,
        pad_id=parts.tokenizer.pad_id,
        image_size=parts.image_size,
        feature_shape=parts.feature_shape,
        decode=resolve_decode(
            decode,
            use_gpu=config.cluster.use_gpu,
            has_reader_nodes=bool(config.cluster.reader_labels),
        ),
        num_readers=num_readers(config),
        reader_labels=config.cluster.reader_labels,
        num_pipelines=collective.world_size,
        max_packed_length=data.max_packed_length if isinstance(data, ImageDataConfig) else None,
    )


def _report(step: int, path: Path, metrics: Metrics) -> None:
    """Tell Ray of a committed checkpoint: a reference to it, for ours is the only store."""
    with tempfile.TemporaryDirectory(prefix="phiray-") as folder:
        (Path(folder) / "checkpoint.json").write_text(json.dumps({"path": str(path)}))
        ray.train.report(
            {**metrics, "step": step},
            checkpoint=Checkpoint.from_directory(folder)
            if current_collective().rank == 0
            else None,
            checkpoint_dir_name=path.name,
        )
