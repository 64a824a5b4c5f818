"""Extrapolate training to many GPUs, from constants measured here and constants that are given.

Source: each given constant names its own.
Limits: no GPU, no network and no object store was measured. A stage keeps the batch of its preset,
so that more GPUs share the same rows; `grown` lets the batch grow instead, and does not say what
becomes of the loss.
"""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from phiray.config.presets import preset
from phiray.config.stages import STAGES, AlignConfig, AnyStageConfig, InstructConfig
from phiray.planning.devices import Device, read_devices
from phiray.planning.plan import (
    ASSUMED_MFU,
    GIB,
    JPEG_BYTES,
    TOKEN_BYTES,
    USABLE_FRACTION,
    Plan,
    PlanOptions,
    build_plan,
)
from phiray.planning.scaling import (
    Compute,
    Job,
    Links,
    Machine,
    Storage,
    best_interval,
    checkpoint_seconds,
    foretell_step,
    lost_fraction,
)

# Any: JSON of this benchmark.
Found = dict[str, Any]

WORKERS = tuple(2**power for power in range(11))
MEMORY_BYTES_PER_SECOND = {"A100-80": 2.04e12, "H100": 3.35e12}
"""Given: NVIDIA's data sheets."""
NVLINK_BYTES_PER_SECOND = {"A100-80": 300e9, "H100": 450e9}
"""Given: the same, one direction."""
GPUS_PER_MACHINE = 8
HOP_SECONDS = 20e-6
"""Given: a small NCCL message from machine to machine."""
VARIATION = 0.01
"""Given: of a GPU's steps."""
STORE_BYTES_PER_SECOND = 10e9
"""Given: a shared file system that serves all machines."""
STORE_REQUESTS_PER_SECOND = 5500
"""Given: GETs on one partitioned prefix of Amazon S3, at least (its guide on performance)."""
FLEET_CORES = 128
"""Decode nodes that `cluster/aws.yaml` allows: eight of 16."""
RAY_NODES, RAY_ACTORS = 250, 10_000
"""What Ray's maintainers test (ray-project/ray, release/benchmarks/README.md)."""
POLL_SECONDS = 0.5
"""Between two questions of Ray Train's controller to all workers (`phiray/runtime.py`)."""
RESUME_SECONDS = 600.0
"""More than this to read a checkpoint again counts as a bend."""
UPDATE_BYTES = 40
"""Of a trained weight: clipping reads, scales and writes its gradient (12); AdamW reads four
numbers and writes three (28)."""
CAST_BYTES, BACKWARD_BYTES, GRADIENT_BYTES = 8, 2, 12
"""Of a weight and micro-batch under autocast: read in fp32, written and read in bf16; read again by
the backward; if it is trained, its gradient is written in bf16, read, and added in fp32."""
PICTURE_BYTES = 3 * 224**2
BLOCK_ROWS, BLOCKS_IN_FLIGHT, STEPS_AHEAD = 128, 2, 2
"""Of a worker's pipeline (`phiray/data/pipeline.py`)."""
LOSSES_PER_HOUR = (0.001, 0.01, 0.05, 0.2)
"""Of one machine: an axis, for rates of spot machines differ by kind, place and day."""
NOTABLE, HALF = 0.1, 0.5
"""Shares from which on a part bends the curve, and breaks it."""


@dataclass(frozen=True)
class Site:
    """GPUs and what lies between their machines."""

    gpu: str
    network: str
    """Of a machine."""
    bytes_per_second: float
    """Given: of all network cards of a machine, one direction. A ring leaves each machine once, and
    NCCL lays one ring through each card."""
    gpus_per_machine: int

    def links(self, workers: int) -> Links:
        """Return the slowest link of so many workers' ring."""
        inside = workers <= self.gpus_per_machine
        speed = NVLINK_BYTES_PER_SECOND[self.gpu] if inside else self.bytes_per_second
        return Links(bytes_per_second=speed, hop_seconds=HOP_SECONDS, overlaps=True)

    def machines(self, workers: int) -> int:
        """Return the machines that hold so many workers."""
        return -(-workers // self.gpus_per_machine)


SITES = (
    Site("H100", "3,200 Gb/s", 400e9, GPUS_PER_MACHINE),
    Site("H100", "100 Gb/s", 12.5e9, GPUS_PER_MACHINE),
    Site("A100-80", "1,600 Gb/s", 200e9, GPUS_PER_MACHINE),
    Site("H100", "25 Gb/s, one GPU a machine", 3.125e9, 1),
)


@dataclass(frozen=True)
class Stage:
    """A preset on a site."""

    config: AnyStageConfig
    plan: Plan
    job: Job
    machine: Machine
    site: Site
    constants: Found

    @property
    def sees(self) -> bool:
        """Whether its rows have pictures."""
        return isinstance(self.config, AlignConfig | InstructConfig)

    def at(self, workers: int, *, grows: bool = False) -> Found:
        """Return all that is foretold of so many workers.

        Args:
            workers: GPUs.
            grows: give each at least one micro-batch of the preset's size, in a larger batch.
        """
        job = self._grown(workers) if grows else self.job
        machine = Machine(self.machine.compute, self.site.links(workers), self._storage(workers))
        step = foretell_step(job, machine, workers=workers)
        checkpoint = checkpoint_seconds(job, machine.storage)
        every = self.config.training.checkpoint_every_steps
        with_checkpoint = step.total + checkpoint / every
        rows = job.global_batch_size / step.total
        decode = rows / self._images_per_second() if self.sees else 0.0
        row_bytes = JPEG_BYTES if self.sees else TOKEN_BYTES * self.plan.rows.mean_tokens
        useful = job.global_batch_size / with_checkpoint / (workers * self._alone())
        return {
            "workers": workers,
            "machines": self.site.machines(workers),
            "global_batch_size": job.global_batch_size,
            "micro_batches": job.micro_batches(workers),
            "rows_per_micro_batch": job.rows_per_micro_batch(workers),
            "step_seconds": asdict(step) | {"total": step.total},
            "exchange_share": step.exchange / step.total,
            "update_share": step.update / step.total,
            "checkpoint_seconds": checkpoint,
            "checkpoint_share": checkpoint / every / with_checkpoint,
            "efficiency": useful,
            "lost_share": 1 - useful,
            "hours": with_checkpoint * self.config.training.max_steps / 3600,
            "rows_per_second": rows,
            "decode_cores": decode,
            "store_bytes_per_second": rows * row_bytes,
            "store_requests_per_second": rows if self.sees else 0.0,
            "in_flight_bytes_per_worker": self._in_flight(job, workers),
            "actors": workers * (1 + max(1, math.ceil(decode / workers))),
            "poll_seconds": workers * self.constants["ray"]["actor_call_seconds"],
            "resume_seconds": self.resume_seconds(workers),
        }

    def resume_seconds(self, workers: int) -> float:
        """Return the seconds to verify a checkpoint twice, and for all workers to read it."""
        size = self.job.checkpoint_bytes
        hashing = 2 * size / self.constants["bare"]["1"]["checkpoint"]["hash_bytes_per_second"]
        return hashing + workers * size / STORE_BYTES_PER_SECOND

    def losses(self, workers: int) -> list[Found]:
        """Return what losses of machines cost at the preset's interval, and at the best one."""
        found = self.at(workers)
        checkpoint = found["checkpoint_seconds"]
        restart = self.constants["restart"]["restart_seconds"] + found["resume_seconds"]
        step = found["step_seconds"]["total"]
        interval = self.config.training.checkpoint_every_steps * step
        rows = []
        for rate in LOSSES_PER_HOUR:
            between = 3600 / (rate * self.site.machines(workers))
            best = best_interval(checkpoint, between)
            costs = [
                lost_fraction(
                    seconds, checkpoint=checkpoint, restart=restart, between_losses=between
                )
                for seconds in (interval, best)
            ]
            rows.append(
                {
                    "losses_per_machine_hour": rate,
                    "workers": workers,
                    "restart_seconds": restart,
                    "interval_seconds": interval,
                    "lost_fraction": costs[0],
                    "best_interval_seconds": best,
                    "best_interval_steps": max(1, round(best / step)),
                    "lost_fraction_at_best": costs[1],
                }
            )
        return rows

    def memory_gib(self, workers: int) -> float:
        """Return what one of so many workers holds."""
        update = {"gradient_accumulation_steps": self.job.micro_batches(workers)}
        training = self.config.training.model_copy(update=update)
        cluster = self.config.cluster.model_copy(update={"workers": workers})
        config = self.config.model_copy(update={"training": training, "cluster": cluster})
        plan = build_plan(config, PlanOptions(), devices={})
        return plan.memory["ddp"].total / GIB

    def _storage(self, workers: int) -> Storage:
        here = self.constants["bare"]["1"]["checkpoint"]
        ray = self.constants["ray"]
        return Storage(
            fixed_seconds=here["fixed_seconds"],
            bytes_per_second=here["bytes_per_second"],
            report_seconds=ray["2"]["report_seconds"] + workers * ray["actor_call_seconds"],
        )

    def _grown(self, workers: int) -> Job:
        rows = max(self.job.global_batch_size, workers * self.job.most_rows)
        return replace(self.job, global_batch_size=rows)

    def _alone(self) -> float:
        """Return the rows a second of one GPU that never writes a checkpoint."""
        machine = Machine(self.machine.compute, self.site.links(1), self._storage(1))
        seconds = foretell_step(self.job, machine, workers=1).total
        return self.job.global_batch_size / seconds

    def _images_per_second(self) -> float:
        return float(self.constants["bare"]["2"]["images_per_second"])

    def _in_flight(self, job: Job, workers: int) -> float:
        ahead = STEPS_AHEAD * job.global_batch_size / workers + BLOCKS_IN_FLIGHT * BLOCK_ROWS
        return ahead * (PICTURE_BYTES if self.sees else 8 * self.plan.rows.mean_tokens)


def extrapolate(constants: Found) -> Found:
    """Foretell all stages of the preset `phi-2` on all sites."""
    devices = read_devices()
    found = []
    for site in SITES:
        for name in STAGES:
            stage = build_stage(name, site, devices[site.gpu], constants)
            most = min(stage.job.global_batch_size, WORKERS[-1])
            workers = [number for number in WORKERS if number <= most]
            fits = USABLE_FRACTION * devices[site.gpu].memory_gib
            found.append(
                {
                    "stage": name,
                    "gpu": site.gpu,
                    "network": site.network,
                    "global_batch_size": stage.job.global_batch_size,
                    "trained_weights": stage.job.trained_weights,
                    "checkpoint_bytes": stage.job.checkpoint_bytes,
                    "checkpoint_every_steps": stage.config.training.checkpoint_every_steps,
                    "memory_gib": stage.memory_gib(1),
                    "memory_gib_of_two": stage.memory_gib(2),
                    "usable_gib": fits,
                    "at": [stage.at(number) for number in workers],
                    "grown": [stage.at(number, grows=True) for number in WORKERS],
                    "losses": stage.losses(min(most, 64)),
                    "bends": find_bends(stage, most),
                }
            )
    return {"given": given_constants(), "stages": found, "writers": writers(constants)}


def build_stage(name: str, site: Site, device: Device, constants: Found) -> Stage:
    """Join a preset, a site and constants."""
    config = preset("phi-2", name)
    plan = build_plan(config, PlanOptions(), devices={})
    training = config.training
    parameters = plan.parameters
    is_trained = not isinstance(config, AlignConfig)
    passed = (CAST_BYTES + BACKWARD_BYTES) * parameters.total
    memory = MEMORY_BYTES_PER_SECOND[site.gpu]
    job = Job(
        global_batch_size=training.global_batch_size,
        most_rows=plan.rows_per_micro_batch,
        flops_per_row=plan.flops_per_row.total,
        backward_fraction=2 / 3 if is_trained else 1 / 2,
        trained_weights=parameters.trained,
        checkpoint_bytes=plan.checkpoint_bytes,
    )
    compute = Compute(
        flops_per_second=ASSUMED_MFU * device.flops_per_second(is_bf16=True),
        update_seconds=UPDATE_BYTES * parameters.trained / memory,
        least_seconds=(passed + GRADIENT_BYTES * parameters.trained) / memory,
        record_seconds=constants["bare"]["1"]["record_seconds"],
        variation=VARIATION,
    )
    nothing = Storage(fixed_seconds=0.0, bytes_per_second=1.0, report_seconds=0.0)
    machine = Machine(compute, site.links(1), nothing)  # links and storage depend on the workers
    return Stage(config, plan, job, machine, site, constants)


def find_bends(stage: Stage, most: int) -> dict[str, int | None]:
    """Return the fewest GPUs at which each limit is met; none up to the last one looked at.

    Shares of the time are those of the preset's batch, capacities those of a batch that grows.
    """
    fixed = [stage.at(number) for number in range(1, most + 1)]
    grown = [stage.at(number, grows=True) for number in range(1, WORKERS[-1] + 1)]
    shares = {
        "gradients take a tenth of the step": ("exchange_share", NOTABLE),
        "gradients take half of the step": ("exchange_share", HALF),
        "the update takes a tenth of the step": ("update_share", NOTABLE),
        "checkpoints take a tenth of the time": ("checkpoint_share", NOTABLE),
        "checkpoints take half of the time": ("checkpoint_share", HALF),
        "half of the GPUs' time is lost": ("lost_share", HALF),
    }
    capacities = {
        "decoding takes more cores than `cluster/aws.yaml` has": ("decode_cores", FLEET_CORES),
        "pictures are more requests than one S3 prefix answers": (
            "store_requests_per_second",
            STORE_REQUESTS_PER_SECOND,
        ),
        "pictures are more than 10 GB/s": ("store_bytes_per_second", STORE_BYTES_PER_SECOND),
        "a restart reads checkpoints for ten minutes": ("resume_seconds", RESUME_SECONDS),
        "Ray Train's poll takes as long as its interval": ("poll_seconds", POLL_SECONDS),
        "more actors than Ray is tested with": ("actors", RAY_ACTORS),
        "more nodes than Ray is tested with": ("machines", RAY_NODES),
    }
    return {
        **{what: _first_over(fixed, *limit) for what, limit in shares.items()},
        "more GPUs than rows of the preset's batch": stage.job.global_batch_size + 1,
        **{what: _first_over(grown, *limit) for what, limit in capacities.items()},
    }


def _first_over(found: list[Found], key: str, limit: float) -> int | None:
    return next((one["workers"] for one in found if one[key] > limit), None)


def writers(constants: Found) -> list[Found]:
    """Return the seconds of a checkpoint by its size and by how many would write it."""
    here = constants["bare"]["1"]["checkpoint"]
    rows = []
    for name in ("align", "instruct", "scratch"):
        plan = build_plan(preset("phi-2", name), PlanOptions(), devices={})
        for number in (1, 8, 64):
            rate = min(number * here["bytes_per_second"], STORE_BYTES_PER_SECOND)
            seconds = here["fixed_seconds"] + plan.checkpoint_bytes / rate
            rows.append(
                {
                    "stage": name,
                    "bytes": plan.checkpoint_bytes,
                    "writers": number,
                    "seconds": seconds,
                }
            )
    return rows


def given_constants() -> Found:
    """Return what was not measured."""
    return {
        "mfu": ASSUMED_MFU,
        "memory_bytes_per_second": MEMORY_BYTES_PER_SECOND,
        "nvlink_bytes_per_second": NVLINK_BYTES_PER_SECOND,
        "sites": [asdict(site) for site in SITES],
        "hop_seconds": HOP_SECONDS,
        "variation": VARIATION,
        "store_bytes_per_second": STORE_BYTES_PER_SECOND,
        "store_requests_per_second": STORE_REQUESTS_PER_SECOND,
        "fleet_cores": FLEET_CORES,
        "ray_nodes": RAY_NODES,
        "ray_actors": RAY_ACTORS,
    }
