"""Foretell runs from constants that were measured apart, and be held to what was measured.

Limits: CPUs, where gradients travel on the cores that compute, so that nothing hides them.
"""

import statistics
from collections.abc import Callable
from dataclasses import asdict, replace

from scaling_extrapolate import Found, extrapolate

from phiray.config.stages import AnyStageConfig
from phiray.planning.plan import PlanOptions, build_plan
from phiray.planning.scaling import (
    Compute,
    Job,
    Links,
    Machine,
    Storage,
    checkpoint_seconds,
    foretell_step,
)

TOLERANCE = 0.15
NO_LINKS = Links(bytes_per_second=1.0, hop_seconds=0.0, overlaps=False)
"""Of a single worker, which asks nothing of them."""


def judge(compared: list[Found], constants: Found) -> Found:
    """Extrapolate, unless what was foretold is too far from what was measured."""
    worst = max(abs(row["difference"]) for row in compared)
    return {
        "largest_difference": worst,
        "extrapolated": extrapolate(constants) if worst <= TOLERANCE else None,
    }


def say(row: Found) -> str:
    """Tell of one comparison."""
    return (
        f"{row['stage']}, {row['workers']} worker(s): {row['foretold']:.1f} rows/s foretold, "
        f"{row['measured']:.1f} measured ({row['difference']:+.1%})"
    )


def compare(
    config: AnyStageConfig, constants: Found, runs: list[Found], *, workers: int, cores: int
) -> Found:
    """Lay the foretold throughput of a stage beside the median of its runs."""
    job, given = describe(config, constants, workers=workers, cores=cores)
    step = foretell_step(job, given, workers=workers)
    checkpoint = checkpoint_seconds(job, given.storage)
    counted, checkpoints = runs[0]["counted_steps"], runs[0]["checkpoints"]
    seconds = counted * step.total + checkpoints * checkpoint
    foretold = counted * job.global_batch_size / seconds
    measured = [run["rows_per_second"] for run in runs]
    return {
        "stage": config.stage,
        "workers": workers,
        "foretold": foretold,
        "measured": statistics.median(measured),
        "range": [min(measured), max(measured)],
        "difference": foretold / statistics.median(measured) - 1,
        "step_seconds": asdict(step) | {"total": step.total},
        "checkpoint_seconds": checkpoint,
        "counted_steps": counted,
        "checkpoints": checkpoints,
        "job": asdict(job),
        "machine": asdict(given),
    }


def describe(
    config: AnyStageConfig, constants: Found, *, workers: int, cores: int
) -> tuple[Job, Machine]:
    """Put measured constants into the form that is reckoned with."""
    plan = build_plan(config, PlanOptions(stand_in="tiny"), devices={})
    bare, ray = constants["bare"][str(workers)], constants["ray"][str(workers)]
    own, stream = bare[config.stage], ray[config.stage]
    rows = config.training.global_batch_size
    job = Job(
        global_batch_size=rows,
        most_rows=-(-rows // workers),
        flops_per_row=own["flops_per_row"],
        backward_fraction=0.0,  # nothing is hidden behind it on CPUs
        trained_weights=plan.parameters.trained,
        checkpoint_bytes=plan.checkpoint_bytes,
    )
    free = 1 - ray["idle_cores"] / cores
    compute = Compute(
        flops_per_second=own["flops_per_second"] * free,
        update_seconds=own["update_seconds_per_weight"] * plan.parameters.trained / free,
        # readers take from all cores, which the workers of this machine share
        row_seconds=stream["core_seconds_per_row"] * workers / cores,
        record_seconds=bare["record_seconds"],
        variation=own["variation"],
        rows_per_second=stream["rows_per_second"],
    )
    alone = constants["bare"]["1"]["checkpoint"]  # while rank 0 writes, the others sleep
    storage = Storage(
        fixed_seconds=alone["fixed_seconds"],
        bytes_per_second=alone["bytes_per_second"],
        report_seconds=ray["report_seconds"],
    )
    links = replace(NO_LINKS, **bare["links"]) if workers > 1 else NO_LINKS
    return job, Machine(compute, links, storage)


def combine(found: list[Found], average: Callable[[list[float]], float]) -> Found:
    """Average numbers that stand at the same place."""
    return {
        key: combine([one[key] for one in found], average)
        if isinstance(value, dict)
        else average([one[key] for one in found])
        for key, value in found[0].items()
    }
