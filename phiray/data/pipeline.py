"""Stream the steps of a run through Ray Data: one pipeline per rank, over all remaining steps.

Source: facts/ray.md section 3 (position-addressed rows, `preserve_order`, warm actors) and
facts/pipeline.md (encoded bytes through Ray, decoding in threads beside the trainer, is the fastest
form measured).
Limits: a pipeline start costs 3 to 5 seconds; Ray must be initialised, and leave CPUS_PER_READER
CPUs free for each reader, else Ray Data waits without a word. So it does where readers have nodes
of their own, and none is there.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data
from ray.data import ExecutionOptions, ExecutionResources

from phiray.batch import StepInput
from phiray.data.collate import collate_step
from phiray.data.pixels import decode_table
from phiray.data.prefetch import prefetch_in_order
from phiray.data.reader import DecodeRows, RowReader
from phiray.data.rows import RowSource

Decode = Literal["worker", "tasks"]

CPUS_PER_READER = 0.5
"""What one reader reserves: a whole CPU beside a trainer starves two-core machines."""
NODE_ID_LABEL = "ray.io/node-id"
"""What Ray itself labels each node with."""
CPUS_PER_LONE_READER = 1
"""What one reserves on a node without trainers: it decodes in one thread."""
STORE_FRACTION = 0.5
"""Share (0..1) of Ray's object store that all pipelines of a run may fill before they wait for
their trainers: Ray Data's own default, but it gives that much to each of them."""
PREFETCH_STEPS = 2
"""Steps that Ray fetches to the worker ahead of use."""


def resolve_decode(
    setting: Literal["auto", "worker", "tasks"], *, use_gpu: bool, has_reader_nodes: bool
) -> Decode:
    """Choose where JPEGs are decoded.

    Args:
        setting: `auto` keeps CPU work off the nodes of GPU workers, and leaves it to nodes that
            readers have of their own.
        use_gpu: workers have GPUs.
        has_reader_nodes: readers run on nodes of their own.
    """
    if setting == "auto":
        return "tasks" if use_gpu or has_reader_nodes else "worker"
    return setting


def stream_steps(
    source: RowSource,
    positions: npt.NDArray[np.int64],
    *,
    pad_id: int,
    image_size: int | None,
    feature_shape: tuple[int, int] | None = None,
    decode: Decode = "worker",
    num_readers: int = 1,
    num_pipelines: int = 1,
    num_threads: int = 2,
    reader_labels: Mapping[str, str] | None = None,
    max_packed_length: int | None = None,
) -> Iterator[StepInput]:
    """Give the steps that these positions name, read by Ray actors.

    Args:
        source: the data set; it travels to the readers once.
        positions: (steps, accumulation, micro) int64 row ids of this rank.
        pad_id: what fills `input_ids` at the right.
        image_size: side of the images; None for text.
        feature_shape: (patches, vision_hidden) of rows that hold features: nothing is decoded.
        decode: `worker` decodes in threads of this process, `tasks` in the readers.
        num_readers: actors of this rank.
        num_pipelines: ranks, which all stream through one object store.
        num_threads: steps decoded or collated here at the same time.
        reader_labels: of the nodes that readers run on, where each reserves CPUS_PER_LONE_READER;
            with none they run beside this process, whose share holds CPUS_PER_READER for each.
        max_packed_length: run rows end to end in sequences of at most so many tokens.
    """
    num_steps, accumulation, micro = positions.shape
    if num_steps == 0:
        return iter(())
    in_reader = (
        partial(decode_table, image_size=image_size)
        if image_size is not None and feature_shape is None and decode == "tasks"
        else None
    )
    tables = _stream_tables(
        source,
        positions.reshape(-1),
        decode=in_reader,
        num_readers=num_readers,
        num_pipelines=num_pipelines,
        rows_per_step=accumulation * micro,
        reader_labels=reader_labels,
    )
    prepare = partial(
        _prepare_step,
        accumulation=accumulation,
        pad_id=pad_id,
        image_size=image_size,
        max_packed_length=max_packed_length,
        feature_shape=feature_shape,
        is_decoded=in_reader is not None or feature_shape is not None,
    )
    return prefetch_in_order(prepare, tables, num_threads=num_threads)


def _prepare_step(
    table: pa.Table,
    *,
    accumulation: int,
    pad_id: int,
    image_size: int | None,
    max_packed_length: int | None,
    feature_shape: tuple[int, int] | None,
    is_decoded: bool,
) -> StepInput:
    if image_size is not None and not is_decoded:
        table = decode_table(table, image_size=image_size)
    return collate_step(
        table,
        accumulation=accumulation,
        pad_id=pad_id,
        image_size=image_size,
        max_packed_length=max_packed_length,
        feature_shape=feature_shape,
    )


def _stream_tables(
    source: RowSource,
    row_ids: npt.NDArray[np.int64],
    *,
    decode: DecodeRows | None,
    num_readers: int,
    num_pipelines: int,
    rows_per_step: int,
    reader_labels: Mapping[str, str] | None,
) -> Iterator[pa.Table]:
    """Read rows in their order, one table per step."""
    # `from_arrow` would start a process of its own to count the rows of these blocks.
    dataset = ray.data.from_blocks(
        index_blocks(row_ids, rows_per_block=source.rows_per_block)
    ).map_batches(
        RowReader,
        fn_constructor_args=(source, decode),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=num_readers),
        # without a node of its own, its worker has reserved CPUS_PER_READER for it
        num_cpus=CPUS_PER_LONE_READER if reader_labels else 0,
    )
    limit = store_share(ray.cluster_resources()["object_store_memory"], num_pipelines=num_pipelines)
    dataset.context.enable_progress_bars = False
    dataset.context.execution_options = ExecutionOptions(
        preserve_order=True,
        resource_limits=ExecutionResources.for_limits(object_store_memory=limit),
        label_selector=dict(reader_labels) if reader_labels else _this_node(),
    )
    tables: Iterator[pa.Table] = iter(
        dataset.iter_batches(
            batch_size=rows_per_step, batch_format="pyarrow", prefetch_batches=PREFETCH_STEPS
        )
    )
    return tables


def _this_node() -> dict[str, str]:
    """Keep readers beside their worker; Ray Data would spread them, also over a head without CPUs.

    The CPUs reserved for them are on its node, and the copies of the files that they read.
    """
    return {NODE_ID_LABEL: ray.get_runtime_context().get_node_id()}


def store_share(store_bytes: float, *, num_pipelines: int) -> int:
    """Return the bytes of Ray's object store that one of `num_pipelines` may hold.

    However small it is, Ray Data lets an idle pipeline read its next block.
    """
    return int(STORE_FRACTION * store_bytes / num_pipelines)


def index_blocks(row_ids: npt.NDArray[np.int64], *, rows_per_block: int) -> list[pa.Table]:
    """Cut the row ids into blocks, in order."""
    table = pa.table({"row_id": row_ids})
    return [table.slice(start, rows_per_block) for start in range(0, len(table), rows_per_block)]
