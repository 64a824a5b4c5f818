"""Foretell how long a step takes on many workers, part by part, and what losing workers costs.

    foretell_step(job, machine, workers=N) -> StepTime
    checkpoint_seconds(job, machine.storage) -> float
    best_interval(...), lost_fraction(...)

Source: an all-reduce sends 2 (N - 1) / N of its bytes (Patarasuk and Yuan, 2009) and hides behind
the backward of the last micro-batch alone, as `training/parallel.py` has it; the largest of N
normal numbers by Blom (1958); the interval of checkpoints by Young (1974), with the first-order
cost of Daly (2006).
Limits: all workers are alike, and one ring's slowest link counts; no congestion. Held against real
runs of one and two workers by `bench/scaling.py`, and against nothing larger.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

GRADIENT_BYTES = 4
"""DDP adds up gradients in fp32."""
SUMS_PER_STEP = 3
"""Small all-reduces of a step: bad rows, label tokens, losses."""
BUCKET_BYTES = 25 * 2**20
"""DDP's default: gradients travel in pieces of it."""


@dataclass(frozen=True)
class Job:
    """What a run asks of its workers."""

    global_batch_size: int
    most_rows: int
    """Rows of the largest micro-batch that a worker holds."""
    flops_per_row: float
    backward_fraction: float
    """Share (0..1) of the FLOPs that the backward takes."""
    trained_weights: int
    checkpoint_bytes: float

    def micro_batches(self, workers: int) -> int:
        """Return the micro-batches of each of so many workers."""
        return math.ceil(self.global_batch_size / (workers * self.most_rows))

    def rows_per_micro_batch(self, workers: int) -> int:
        """Return the rows of a micro-batch, fillers included."""
        return math.ceil(self.global_batch_size / (workers * self.micro_batches(workers)))


@dataclass(frozen=True)
class Compute:
    """How fast one worker computes while all others of its machine do."""

    flops_per_second: float
    """Reached by forward and backward, in model FLOPs."""
    update_seconds: float
    """Clipping and AdamW, for all trained weights."""
    least_seconds: float = 0.0
    """Of a micro-batch, however few its rows: a GPU reads all weights."""
    row_seconds: float = 0.0
    """Taken from computing by the reading of one row, where readers share the worker's cores."""
    record_seconds: float = 0.0
    """Of a step's record, which rank 0 writes while all others wait."""
    variation: float = 0.0
    """Standard deviation of a step's computing over its mean: all wait for the slowest."""
    rows_per_second: float = math.inf
    """The most that the readers of one worker give."""


@dataclass(frozen=True)
class Links:
    """What lies between workers."""

    bytes_per_second: float
    """That each worker sends, and receives at the same time."""
    hop_seconds: float
    """From a worker to the next one, for a few bytes."""
    overlaps: bool
    """Whether gradients travel while the backward computes; on CPUs both take the same cores."""


@dataclass(frozen=True)
class Storage:
    """Where checkpoints go."""

    fixed_seconds: float
    """Of a checkpoint without a byte: files, fsyncs, renames."""
    bytes_per_second: float
    """Written, flushed and hashed by the one writer."""
    report_seconds: float
    """Until Ray's controller has heard of it; all workers wait."""


@dataclass(frozen=True)
class Machine:
    """Constants, each measured by itself or given."""

    compute: Compute
    links: Links
    storage: Storage


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step, by part."""

    compute: float
    """Forward and backward of all micro-batches."""
    update: float
    exchange: float
    """Gradients, as far as the backward does not hide them."""
    sums: float
    slowest: float
    """Waiting for the slowest worker."""
    record: float
    rows: float
    """Waiting for rows."""

    @property
    def total(self) -> float:
        """All parts."""
        before_rows = self.compute + self.update + self.exchange + self.sums
        return before_rows + self.slowest + self.record + self.rows


def foretell_step(job: Job, machine: Machine, *, workers: int) -> StepTime:
    """Foretell one step.

    Args:
        job: of the run.
        machine: constants that hold while so many workers are at work.
        workers: at most `job.global_batch_size`; more would only compute fillers.
    """
    compute, links = machine.compute, machine.links
    accumulation, rows = job.micro_batches(workers), job.rows_per_micro_batch(workers)
    micro = max(rows * job.flops_per_row / compute.flops_per_second, compute.least_seconds)
    own_rows = accumulation * rows
    computing = accumulation * micro + own_rows * compute.row_seconds
    window = job.backward_fraction * micro if links.overlaps else 0.0
    busy = StepTime(
        compute=computing,
        update=compute.update_seconds,
        exchange=_exposed(job, links, workers=workers, window=window),
        sums=0.0 if workers == 1 else SUMS_PER_STEP * _hops(workers) * links.hop_seconds,
        slowest=_largest_of(workers) * compute.variation * (computing + compute.update_seconds),
        record=compute.record_seconds,
        rows=0.0,
    )
    missing = own_rows / compute.rows_per_second - busy.total
    return StepTime(**{**vars(busy), "rows": max(0.0, missing)})


def exchange_seconds(num_bytes: float, links: Links, *, workers: int) -> float:
    """Return how long so many bytes take to be added up over all workers."""
    if workers == 1:
        return 0.0
    volume = 2 * (workers - 1) / workers * num_bytes
    buckets = math.ceil(num_bytes / BUCKET_BYTES)
    return volume / links.bytes_per_second + buckets * _hops(workers) * links.hop_seconds


def checkpoint_seconds(job: Job, storage: Storage) -> float:
    """Return how long all workers wait while rank 0 commits a checkpoint."""
    writing = storage.fixed_seconds + job.checkpoint_bytes / storage.bytes_per_second
    return writing + storage.report_seconds


def best_interval(checkpoint: float, between_losses: float) -> float:
    """Return the seconds of training between checkpoints that lose the least.

    Args:
        checkpoint: seconds that one takes.
        between_losses: mean seconds from one loss of a worker to the next, over all of them.
    """
    return math.sqrt(2 * checkpoint * between_losses)


def lost_fraction(
    interval: float, *, checkpoint: float, restart: float, between_losses: float
) -> float:
    """Return the share (0..1) of the time that checkpoints, replayed steps and restarts take.

    Args:
        interval: seconds of training between checkpoints.
        checkpoint: seconds that one takes.
        restart: seconds from a loss until training goes on.
        between_losses: mean seconds between losses, over all workers.
    """
    writing = checkpoint / interval
    losing = (interval / 2 + restart) / between_losses
    return min(1.0, (writing + losing) / (1 + writing + losing))


def _exposed(job: Job, links: Links, *, workers: int, window: float) -> float:
    """Return what of the exchange the backward does not hide; the last bucket never is hidden."""
    gradients = GRADIENT_BYTES * job.trained_weights
    whole = exchange_seconds(gradients, links, workers=workers)
    last = exchange_seconds(min(gradients, BUCKET_BYTES), links, workers=workers)
    return max(whole - window, last)


def _hops(workers: int) -> int:
    """Return the hops of a few bytes up a tree of workers and down again."""
    return 2 * math.ceil(math.log2(workers))


def _largest_of(workers: int) -> float:
    """Return by how many standard deviations the largest of so many numbers exceeds their mean."""
    if workers == 1:
        return 0.0
    return NormalDist().inv_cdf((workers - 0.375) / (workers + 0.25))
