"""Prepare a stage's data; in a job of a cluster, text is tokenised by Ray Data on all its nodes.

Source: DESIGN 6; a shard is a pure function of its documents (`data/prepare/shards.py`), so what a
lost node was making is made again elsewhere, to the same bytes.
Limits: shards lie on storage that all nodes share. Documents are listed by one process, before Ray
is asked for anything. What costs Ray more time to start than it saves is tokenised in threads here.
"""

import errno
import json
import os
import socket
import time
from collections.abc import Callable, Sequence

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy

from phiray.config.stages import AnyStageConfig, LitgptConfig, ScratchConfig
from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.shards import ShardWriter
from phiray.data.prepare.threads import OnDone, run_in_threads
from phiray.data.sources.documents import DocumentRef
from phiray.errors import (
    ClusterError,
    ExitCode,
    PhirayError,
    error_from_payload,
    payload_from_error,
)
from phiray.jobs.cluster.shared_storage import PATIENCE_SECONDS
from phiray.jobs.features import prepare_here
from phiray.runtime import possible_growth, ray_session
from phiray.stages.parts import PreparedData
from phiray.stages.text import prepare_text_stage
from phiray.types import Progress

RAY_BYTES = 64 * 10**6
"""Less text is tokenised in threads of this process: two cores take 16 s for it, Ray Data half of
that to start (`bench/results/text.json`)."""
_SECONDS_BETWEEN_LOOKS = 0.5
_FIELDS = ("key", "path", "offset", "num_bytes")


def prepare_stage(
    config: AnyStageConfig,
    *,
    attach: bool,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> PreparedData:
    """Do once what need not be done by each worker, and say all that is wrong with inputs.

    Args:
        config: the stage's settings; paths are absolute if this is a job.
        attach: this process is a job of a cluster, whose nodes tokenise.
        progress: told of what takes long.
        note: told what a cache of features will take.

    Raises:
        PhirayError: as the stage's own `prepare`.
    """
    if attach and isinstance(config, ScratchConfig | LitgptConfig):
        return prepare_text_stage(config, progress=progress, run_shards=run_on_cluster)
    return prepare_here(config, progress=progress, note=note)


def run_on_cluster(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
    """Make shards on the nodes of the cluster that this process is a job of, if there are many.

    Raises:
        DataError: if a document changed since it was indexed.
        ClusterError: 78 if a node does not see the data.
        OSError: if a file cannot be written.
    """
    if sum(task.num_bytes for task in tasks) < RAY_BYTES:
        run_in_threads(writer, tasks, on_done)
        return
    with ray_session(num_cpus=1, attach=True):
        run_on_ray(writer, tasks, on_done)


def run_on_ray(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
    """Make shards with the CPUs that Ray has now, and those that it may add; in no fixed order.

    With neither, as on the head alone while others use all nodes, in threads of this process.

    Raises:
        DataError: if a document changed since it was indexed.
        ClusterError: 78 if a node does not see the data.
        OSError: if a file cannot be written.
    """
    now = int(ray.available_resources().get("CPU", 0))
    most = min(now + int(possible_growth().get("CPU", 0)), len(tasks))
    if most == 0:
        run_in_threads(writer, tasks, on_done)
        return
    by_size = sorted(tasks, key=lambda task: task.num_bytes, reverse=True)
    dataset = ray.data.from_blocks([_block(task) for task in by_size]).map_batches(
        _ShardMaker,
        fn_constructor_args=(writer,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=max(1, min(now, most)), max_size=most),
        num_cpus=1,
    )
    dataset.context.enable_progress_bars = False
    for batch in dataset.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
        (told,) = batch.to_pylist()
        if told["error"] is not None:
            raise _error(json.loads(told["error"]))
        on_done(told["num_documents"])


class _ShardMaker:
    """A warm actor that makes shards, one after the other."""

    def __init__(self, writer: ShardWriter) -> None:
        self._writer = writer

    def __call__(self, block: pa.Table) -> pa.Table:
        """Make one shard; an error travels as JSON, so that Ray neither wraps nor repeats it."""
        error: dict[str, object] | None = None
        try:
            self._check_storage()
            self._writer.write(_task(block), on_document=lambda: None)
        except PhirayError as found:
            error = payload_from_error(found)
        except OSError as found:
            error = {"errno": found.errno, "strerror": found.strerror}
        told = None if error is None else json.dumps(error)
        return pa.table(
            {"num_documents": [len(block)], "error": pa.array([told], type=pa.string())}
        )

    def _check_storage(self) -> None:
        """See that this node has what the driver has, which made one of the two just now."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        for folder in (self._writer.root, self._writer.folder):
            while not folder.is_dir():
                if time.monotonic() > give_up_at:
                    raise ClusterError(
                        f"{folder} is not on the node {socket.gethostname()}, which was to "
                        "tokenise. Expected it under the same path on every node. Set data.root "
                        "and data.prepared to folders on shared storage.",
                        exit_code=ExitCode.BAD_CONFIG,
                    )
                time.sleep(_SECONDS_BETWEEN_LOOKS)


def _block(task: ShardTask) -> pa.Table:
    """Write a task as a table with one line a document."""
    columns: dict[str, list[object]] = {
        name: [getattr(document, name) for document in task.documents] for name in _FIELDS
    }
    return pa.table({"number": [task.number] * len(task.documents), **columns})


def _task(block: pa.Table) -> ShardTask:
    documents = block.select(_FIELDS).to_pylist()
    return ShardTask(
        block["number"][0].as_py(), tuple(DocumentRef(**document) for document in documents)
    )


def _error(payload: dict[str, object]) -> Exception:
    if "exit_code" in payload:
        return error_from_payload(payload)
    number = payload["errno"]
    code = number if isinstance(number, int) else errno.EIO
    return OSError(code, payload["strerror"] or os.strerror(code))
