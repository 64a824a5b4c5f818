"""Say in words where the design bends, with the figures of a result of `bench/scaling.py`.

Limits: figures are those of the first site unless another is named.
"""

import math
from pathlib import Path

from scaling_extrapolate import (
    FLEET_CORES,
    POLL_SECONDS,
    RAY_ACTORS,
    RAY_NODES,
    STORE_BYTES_PER_SECOND,
    STORE_REQUESTS_PER_SECOND,
    Found,
)

from phiray.config.presets import preset
from phiray.config.stages import AlignConfig

BILLION, MILLION, PERCENT = 1e9, 1e6, 100
FEATURE_BYTES = 75_264
"""49 patches of 768 numbers in bf16."""


def bends_in_words(found: Found) -> str:
    """Return a Markdown list, from the limit that is met first to the one that is met last."""
    extrapolated = found["extrapolated"]
    first = extrapolated["given"]["sites"][0]
    stages = {
        stage["stage"]: stage
        for stage in extrapolated["stages"]
        if (stage["gpu"], stage["network"]) == (first["gpu"], first["network"])
    }
    constants = found["constants"]
    lines = (
        _checkpoints(stages["instruct"], extrapolated["writers"], constants),
        _readers(stages["align"], constants),
        _gradients(stages["instruct"], extrapolated["stages"]),
        _update(stages["instruct"]),
        _batch(stages),
        _memory(stages),
        _pictures(stages["align"]),
        _restart(stages["instruct"], constants),
        _losses(stages["instruct"]),
        _controller(stages["align"], constants),
        _rank_0(stages["align"], constants),
        _store(stages["align"]),
    )
    return "".join(f"- {line}\n" for line in lines)


def refresh(document: Path, blocks: dict[str, str]) -> None:
    """Put blocks between their marks in the document."""
    text = document.read_text()
    for name, block in blocks.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        assert mark, f"{document.name} has no place for {name}"
        text = before + mark + block + rest[rest.index("<!-- end -->") :]
    document.write_text(text)


def _checkpoints(stage: Found, writers: list[Found], constants: Found) -> str:
    rate = constants["bare"]["1"]["checkpoint"]["bytes_per_second"]
    bends, alone = stage["bends"], stage["at"][0]
    eight = next(r for r in writers if r["stage"] == "instruct" and r["writers"] == 8)
    return (
        f"**One writer of checkpoints, from {_at(bends['checkpoints take a tenth of the time'])} "
        f"on.** `instruct` keeps {stage['checkpoint_bytes'] / BILLION:.1f} GB. Rank 0 writes, "
        f"flushes and hashes {rate / MILLION:.0f} MB/s here, so that all wait "
        f"{alone['checkpoint_seconds']:.0f} s each {stage['checkpoint_every_steps']} steps: "
        f"{alone['checkpoint_share']:.0%} of the time of one GPU, and half from "
        f"{_at(bends['checkpoints take half of the time'])} on. First of all write less often "
        "(`training.checkpoint_every_steps`; below); then write shards from all workers (eight "
        f"would take {eight['seconds']:.0f} s) and go on training meanwhile."
    )


def _readers(stage: Found, constants: Found) -> str:
    config = preset("phi-2", "align")
    assert isinstance(config, AlignConfig)
    given = config.data.readers
    rate = constants["bare"]["2"]["images_per_second"]
    rows = stage["at"][0]["rows_per_second"]
    return (
        f"**Readers, at 1 GPU.** A core decodes {rate:.0f} pictures a second, a GPU takes "
        f"{rows:.0f} in `align`: {math.ceil(rows / rate)} readers for each GPU, while the preset "
        f"has `data.readers: {given}`, with which a GPU waits for rows "
        f"{_waits(rows, given * rate):.0%} of the time. A reader that decodes takes a whole core, "
        "yet reserves half of one."
    )


def _gradients(stage: Found, stages: list[Found]) -> str:
    slow = [s for s in stages if s["stage"] == "instruct"]
    tenth = "gradients take a tenth of the step"
    one = next(at for at in stage["at"] if at["workers"] == 64)
    others = "; ".join(f"{s['gpu']}, {s['network']}: {_at(s['bends'][tenth])}" for s in slow[1:])
    return (
        f"**Gradients, from {_at(stage['bends'][tenth])} on.** DDP adds up "
        f"{4 * stage['trained_weights'] / BILLION:.1f} GB in fp32 and hides them behind the "
        "backward of the last micro-batch alone, which shrinks as GPUs share the batch: with 64 "
        f"they are {one['exchange_share']:.0%} of the step. Elsewhere a tenth is reached so: "
        f"{others}. Gradients in bf16 would halve it; sharding (FSDP2) hides more of it."
    )


def _update(stage: Found) -> str:
    seconds = stage["at"][0]["step_seconds"]["update"]
    where = stage["bends"]["the update takes a tenth of the step"]
    return (
        f"**The update, from {_at(where)} on.** Each GPU clips and updates all "
        f"{stage['trained_weights'] / BILLION:.2f} billion weights, {1e3 * seconds:.0f} ms however "
        "many GPUs there are. Sharded moments would divide that."
    )


def _batch(stages: dict[str, Found]) -> str:
    sizes = ", ".join(f"{stage['global_batch_size']} in `{n}`" for n, stage in stages.items())
    return (
        f"**The batch.** It is fixed for a run, so that losses do not depend on the workers, and "
        f"no GPU beyond its rows has anything to do: {sizes}. More GPUs need a larger "
        "`training.global_batch_size`, and a learning rate to go with it."
    )


def _memory(stages: dict[str, Found]) -> str:
    stage = stages["instruct"]
    return (
        "**Memory, at any number.** Under DDP each GPU holds all weights, gradients and moments: "
        f"{stage['memory_gib']:.1f} GiB for `instruct`, of {stage['usable_gib']:.1f} that a GPU "
        f"of 80 GB leaves, and as much with more GPUs ({stage['memory_gib_of_two']:.1f} with two). "
        "Smaller GPUs, or a larger model, need FSDP2 or LoRA, which `phiray plan` estimates and "
        "phiray does not train with yet."
    )


def _pictures(stage: Found) -> str:
    bends = stage["bends"]
    requests = bends["pictures are more requests than one S3 prefix answers"]
    cores = bends["decoding takes more cores than `cluster/aws.yaml` has"]
    stored = bends["pictures are more than 10 GB/s"]
    cached = stage["grown"][-1]["rows_per_second"] * FEATURE_BYTES / BILLION
    return (
        f"**Pictures, from {_at(requests)} on.** A row of `align` is a file: more than "
        f"{STORE_REQUESTS_PER_SECOND:,} requests a second from {_at(requests)} on, more than "
        f"{STORE_BYTES_PER_SECOND / BILLION:.0f} GB/s from {_at(stored)} on, and more than the "
        f"{FLEET_CORES} cores of decode nodes that `cluster/aws.yaml` allows from {_at(cores)} on, "
        "where the batch grows with the GPUs. Shards of many pictures on local disks answer the "
        "first two; a cache of CLIP's features (`data.feature_cache`) spares all decoding, at "
        f"{cached:.0f} GB/s for {stage['grown'][-1]['workers']:,} GPUs, from local disks."
    )


def _restart(stage: Found, constants: Found) -> str:
    seconds = constants["restart"]["restart_seconds"]
    where = stage["bends"]["a restart reads checkpoints for ten minutes"]
    one = next(at for at in stage["at"] if at["workers"] == 64)
    return (
        f"**Restarts.** A small run trains again {seconds:.0f} s after a worker is lost. In "
        "`instruct` rank 0 verifies the checkpoint, then every worker verifies and reads all of "
        f"it from the shared storage: {one['resume_seconds']:.0f} s more with 64 GPUs, ten minutes "
        f"from {_at(where)} on. One reader for each machine that sends it on would end that."
    )


def _losses(stage: Found) -> str:
    often = stage["losses"][-1]
    seldom = stage["losses"][1]
    return (
        f"**Lost machines.** With {often['workers']} GPUs of `instruct` the preset's interval of "
        f"{often['interval_seconds']:.0f} s loses {seldom['lost_fraction']:.0%} of the time where "
        f"a machine is lost each {1 / seldom['losses_per_machine_hour']:.0f} hours, nearly all of "
        f"it in checkpoints. The best interval there is {seldom['best_interval_seconds']:.0f} s "
        f"({seldom['best_interval_steps']:,} steps) and loses "
        f"{seldom['lost_fraction_at_best']:.0%}; where one is lost each "
        f"{1 / often['losses_per_machine_hour']:.0f} hours, it is "
        f"{often['best_interval_seconds']:.0f} s and loses {often['lost_fraction_at_best']:.0%}."
    )


def _controller(stage: Found, constants: Found) -> str:
    call = constants["ray"]["actor_call_seconds"]
    report = 1e3 * constants["ray"]["2"]["report_seconds"]
    most = int(POLL_SECONDS / call)
    last = stage["grown"][-1]
    return (
        f"**Ray's controller, from {most:,} GPUs on.** It asks each worker how it is, "
        f"{1e3 * call:.2f} ms for each here, and is to be done in half a second. "
        f"{last['workers']:,} GPUs are {last['actors']:,} actors on {last['machines']} machines; "
        f"Ray is tested with {RAY_ACTORS:,} and {RAY_NODES}. A report of a checkpoint waits only "
        "where the one before has not been fetched yet, so it costs nothing between checkpoints "
        f"that are further apart than the poll: {report:.0f} ms here."
    )


def _rank_0(stage: Found, constants: Found) -> str:
    record = constants["bare"]["1"]["record_seconds"]
    last = stage["at"][-1]
    share = record / last["step_seconds"]["total"]
    return (
        f"**Rank 0's records.** {1e3 * record:.1f} ms a step, whatever the number of workers: "
        f"{share:.0%} of the shortest step here ({last['workers']} GPUs of `align`). Objects are "
        "gathered by pickle only at the start, for bad rows, at checkpoints, and at each step with "
        "`training.log_row_ids`; a step's three sums are 72 bytes."
    )


def _store(stage: Found) -> str:
    held = stage["at"][0]["in_flight_bytes_per_worker"]
    return (
        f"**Ray's object store bends nowhere.** A worker's pipeline holds {held / MILLION:.0f} MB "
        "of decoded pictures at most in `align`, less with more workers, and waits where its share "
        "of the store is full."
    )


def _waits(needed: float, given: float) -> float:
    return max(0.0, 1 - given / needed)


def _at(number: int | None) -> str:
    if number is None:
        return "no number looked at"
    return f"{number} GPU{'s' if number > 1 else ''}"
