"""Score a checkpoint from a job of a cluster: as a task on a node with a CPU, or a GPU, to spare.

    evaluate_on_cluster(suite, checkpoint, settings=..., root=..., display=...) -> SuiteResult

Source: a cluster's head has no CPUs for work; a task goes where there are some, an autoscaler
brings a node for it, and where a spot node is lost Ray runs it again. It goes where the run's
workers went, by their labels.
Limits: one task, one process, at most one GPU.
"""

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import TypedDict, cast

import ray
import torch
from pydantic import JsonValue
from ray import ObjectRef
from ray.exceptions import RayError, RayTaskError
from ray.util.queue import Empty, Queue

from phiray.checkpoints.files import hash_file
from phiray.checkpoints.read import deleted, resolve_checkpoint
from phiray.config.load import config_from_file
from phiray.config.training import ClusterConfig
from phiray.errors import (
    ClusterError,
    ConfigError,
    ExitCode,
    PhirayError,
    error_from_payload,
    payload_from_error,
)
from phiray.evals.collect import EVALS_FOLDER
from phiray.evals.results import RESULT_FILE, SuiteResult, read_result
from phiray.evals.run import evaluate_checkpoint
from phiray.evals.settings import EvalSettings
from phiray.jobs.cluster.shared_storage import PATIENCE_SECONDS, find_path, node_name, unshared
from phiray.jobs.display import Display
from phiray.jobs.paths import absolute
from phiray.jobs.waiting import say_labels
from phiray.jobs.worker import num_threads
from phiray.runtime import HEAD_RESOURCES, ray_session
from phiray.stages.parts import CONFIG_FILE
from phiray.types import Progress

NUM_CPUS = 1
"""What the task reserves, as a worker of a training does; it computes with all cores there."""
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_BETWEEN_MESSAGES = 1.0


class EvalPayload(TypedDict):
    """What the task is told: plain JSON."""

    suite: str
    checkpoint: str
    """Absolute; one checkpoint, so that a second try of Ray's scores the same."""
    settings: dict[str, JsonValue]
    root: str | None
    """Folder or URL of other data than the run's own."""


class EvalOutcome(TypedDict):
    """What the task hands back: plain JSON; the result itself is on shared storage."""

    node: str
    sha256: str
    """Of the result's file."""
    error: dict[str, object] | None
    """A user's mistake."""


def evaluate_on_cluster(
    suite: str,
    checkpoint: Path,
    *,
    settings: EvalSettings | None = None,
    root: str | None = None,
    display: Display,
) -> SuiteResult:
    """Score a run or checkpoint on a node of the cluster that this process is a job of.

    The result is written as `evaluate_checkpoint` writes it.

    Args:
        suite: `lm`, `caption` or `instruct`.
        checkpoint: a run or one checkpoint of it.
        settings: how much is scored.
        root: folder or URL of the data, if it is no longer where the run found it.
        display: told of progress.

    Raises:
        PhirayError: as `evaluate_checkpoint`; 78 if the node lacks what this one sees; 66 if its
            run deleted the checkpoint meanwhile; 75 if Ray lost the task.
    """
    given = Path(absolute(str(checkpoint)))
    path = resolve_checkpoint(given)
    cluster = config_from_file(path / CONFIG_FILE).cluster
    payload: EvalPayload = {
        "suite": suite,
        "checkpoint": str(path),
        "settings": (settings or EvalSettings()).model_dump(mode="json"),
        "root": None if root is None else absolute(root),
    }
    with ray_session(num_cpus=NUM_CPUS, attach=True):
        display.note(f"{suite}: to be scored on a node with {_say_need(cluster)} to spare")
        messages = Queue(actor_options={"num_cpus": 0, "resources": HEAD_RESOURCES})
        task = ray.remote(score).options(
            num_cpus=NUM_CPUS,
            num_gpus=float(cluster.use_gpu),
            label_selector=cluster.worker_labels or None,
        )
        outcome = _follow(task.remote(payload, messages), messages, display=display)
        if outcome["error"] is not None and path != given and not path.is_dir():
            path = resolve_checkpoint(given)  # the run went on, and deleted what was its newest
            payload["checkpoint"] = str(path)
            outcome = _follow(task.remote(payload, messages), messages, display=display)
    folder = path.parent.parent / EVALS_FOLDER / suite
    if (error := outcome["error"]) is not None:
        raise error_from_payload(error) if path.is_dir() else deleted(path)
    if not _holds(folder, sha256=outcome["sha256"]):
        raise ConfigError(
            f"{folder} on node {node_name()} does not hold the result that node {outcome['node']} "
            "wrote there. All nodes must see the same folder. Mount shared storage at that path on "
            "every node, or copy the run to one that they share."
        )
    return read_result(folder)


def score(payload: EvalPayload, messages: Queue) -> EvalOutcome:
    """Score a checkpoint on this node; a user's mistake comes back as a value."""
    try:
        return _score(payload, _Forwarded(messages))
    except PhirayError as error:
        told = payload_from_error(error)
        told["message"] = f"On node {node_name()}: {error.message}"
        return {"node": node_name(), "sha256": "", "error": told}


def _score(payload: EvalPayload, progress: Progress) -> EvalOutcome:
    path = Path(payload["checkpoint"])
    if not find_path(path, patience_seconds=PATIENCE_SECONDS):
        raise unshared("CHECKPOINT", str(path), what="is missing")
    cluster = config_from_file(path / CONFIG_FILE).cluster
    torch.set_num_threads(num_threads(cluster, workers_here=1))
    evaluate_checkpoint(
        payload["suite"],
        path,
        settings=EvalSettings.model_validate(payload["settings"]),
        root=payload["root"],
        progress=progress,
    )
    result = path.parent.parent / EVALS_FOLDER / payload["suite"] / RESULT_FILE
    return {"node": node_name(), "sha256": hash_file(result), "error": None}


class _Forwarded:
    """Hands progress on to the driver, now and then: it shows a line in ten seconds at most."""

    def __init__(self, messages: Queue) -> None:
        self._messages = messages
        self._sent = -math.inf

    def __call__(self, description: str, done: int, total: int) -> None:
        """Hand it on, if the last was long enough ago or it is done."""
        if done < total and time.monotonic() - self._sent < _SECONDS_BETWEEN_MESSAGES:
            return
        self._sent = time.monotonic()
        self._messages.put((description, done, total))


def _say_need(cluster: ClusterConfig) -> str:
    unit = "a GPU" if cluster.use_gpu else "a CPU"
    labels = cluster.worker_labels
    return f"the labels {say_labels(labels)} and {unit}" if labels else unit


def _follow(task: ObjectRef, messages: Queue, *, display: Display) -> EvalOutcome:
    """Show what the task tells of, until it is done.

    Raises:
        ClusterError: 75 if Ray gave the task up; a fault in the task itself keeps its traceback.
    """
    try:
        while not ray.wait([task], timeout=0)[0]:
            with suppress(Empty):
                display.progress(*messages.get(timeout=_SECONDS_BETWEEN_LOOKS))
        # cast: the task's own return value
        return cast(EvalOutcome, ray.get(task))
    except RayTaskError:
        raise
    except RayError as error:
        told = str(error).strip().partition("\n")[0].rstrip(".")
        raise ClusterError(
            f"Ray could not finish the evaluation: {told}. It needs one node that stays until the "
            "end and has memory for the model. Give the same command again, or use larger nodes if "
            "one was short of memory.",
            exit_code=ExitCode.RESUMABLE,
        ) from error


def _holds(folder: Path, *, sha256: str) -> bool:
    """Say whether this node sees the result that the task wrote."""
    path = folder / RESULT_FILE
    return find_path(folder, patience_seconds=PATIENCE_SECONDS) and (
        path.is_file() and hash_file(path) == sha256
    )
