"""Micro-benchmarks of `bench/scaling.py`: each constant by itself, in processes of its own.

    python bench/scaling_constants.py bare SETUP.json --rank 0
    python bench/scaling_constants.py ray SETUP.json

Limits: no constant is taken from a training run. The rate of computing is that of a bare forward
and backward, without Ray, of a model half as deep as the one that is foretold.
"""

import argparse
import io
import json
import os
import pickle
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import ray
import ray.train
import torch
from PIL import Image
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from scaling_extrapolate import Found
from torch import distributed

from phiray.batch import Batch
from phiray.checkpoints.commit import begin_attempt, commit_checkpoint
from phiray.checkpoints.files import hash_file
from phiray.config.model import PhiConfig
from phiray.config.stages import STAGE_ADAPTER, AlignConfig, AnyStageConfig, ScratchConfig
from phiray.config.training import StandardMethod
from phiray.data.collate import collate_step
from phiray.data.image_sets import caption_rows
from phiray.data.order import OrderSettings, rank_positions
from phiray.data.pipeline import stream_steps
from phiray.data.pixels import decode_table
from phiray.data.prepare.text import prepare_text
from phiray.data.rows import RowSource
from phiray.data.text_rows import TextRows
from phiray.images.decode import decode_image
from phiray.models.build import build_language_model
from phiray.models.clip import ClipTower
from phiray.models.freezing import freeze_for_stage
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.node import num_cores
from phiray.planning.given import GivenModel, find_given_model
from phiray.planning.workload import Rows, count_flops
from phiray.runtime import quiet_ray, ray_session
from phiray.stages.parts import read_tokenizer
from phiray.training.collective import Collective
from phiray.training.metrics_log import MetricsLog
from phiray.training.objective import Objective, count_labels
from phiray.training.state import build_state

WARM_UP, STEPS = 3, 12
CHECKPOINT_SIZES = (16e6, 64e6, 128e6)
LARGE_SUM, SMALL_SUMS, LARGE_SUMS = 2**25, 200, 6
DECODE_SECONDS, IDLE_SECONDS = 1.5, 3.0
STREAM_STEPS, REPORTS, CALLS, RECORDS = 40, 8, 500, 200
MATRIX = 1024
TEXTS = dict.fromkeys("abcdef", "text")
"""As many files as a checkpoint carries beside tensors; each is flushed by itself."""
JPEG_SHAPE, JPEG_NOISE, JPEG_QUALITY = (480, 640, 3), 6, 90
"""166 kB in 4:4:4, as COCO's pictures have on average, most of them so."""


@dataclass(frozen=True)
class Case:
    """A stage whose throughput is foretold: its rows, and how to build its model at any depth."""

    config: ScratchConfig | AlignConfig
    given: GivenModel
    source: RowSource

    def build(self, language_model: PhiConfig) -> torch.nn.Module:
        """Build the model with random weights, frozen as the stage has it."""
        config = self.config
        model: torch.nn.Module = build_language_model(language_model, kind="phi", seed=0)
        if isinstance(config, AlignConfig):
            tokenizer = read_tokenizer(config.data.root, config.data.tokenizer)
            projector = build_projector(
                config.projector,
                vision_hidden_size=config.vision.hidden_size,
                hidden_size=language_model.hidden_size,
            )
            model = VisionLanguageModel(
                model,  # type: ignore[arg-type]
                ClipTower(config.vision),
                projector,
                image_token_id=tokenizer.image_id,
            )
        freeze_for_stage(model, config.stage)
        return model

    def positions(self, *, rank: int, workers: int, num_steps: int) -> np.ndarray:
        """Return the rows of a rank, (steps, 1, micro)."""
        settings = OrderSettings(0, self.source.num_rows, self.config.training.global_batch_size)
        return rank_positions(
            settings, rank=rank, world=workers, accumulation=1, start_step=0, num_steps=num_steps
        )

    @property
    def image_size(self) -> int | None:
        """Side of the pictures; none for text."""
        return self.config.vision.image_size if isinstance(self.config, AlignConfig) else None


def read_cases(setup: Path) -> dict[str, Case]:
    """Read the stages that are foretold, by name."""
    found = {}
    for tree in json.loads(setup.read_text()):
        config: AnyStageConfig = STAGE_ADAPTER.validate_python(tree)
        assert isinstance(config, ScratchConfig | AlignConfig)
        given = find_given_model(config, stand_in="tiny")
        source: RowSource = (
            TextRows.from_prepared(prepare_text(config.data))
            if isinstance(config, ScratchConfig)
            else caption_rows(config.data, num_patches=config.vision.num_patches, seed=0)
        )
        found[config.stage] = Case(config, given, source)
    return found


def measure_bare(setup: Path, *, rank: int) -> Found:
    """Measure what needs no Ray: the first of two processes alone, then both at once."""
    store = setup.with_name("rendezvous")
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    cases = read_cases(setup)
    found: Found = {}
    if rank == 0:
        found["1"] = measure_among(cases, setup.parent, rank=0, workers=1)
    distributed.barrier()  # the other one sleeps until here
    found["2"] = measure_among(cases, setup.parent, rank=rank, workers=2)
    return found


def measure_among(cases: dict[str, Case], folder: Path, *, rank: int, workers: int) -> Found:
    """Measure while so many processes do the same."""
    torch.set_num_threads(max(1, num_cores() // workers))
    found: Found = {}
    for name, case in cases.items():
        _meet(workers)
        found[name] = measure_steps(case, rank=rank, workers=workers)
    _meet(workers)
    found["matrix_flops_per_second"] = measure_matrix()
    if workers > 1:
        _meet(workers)
        found["links"] = measure_links()
    _meet(workers)
    found["checkpoint"] = measure_checkpoints(folder)
    found["record_seconds"] = measure_records()
    torch.set_num_threads(1)
    _meet(workers)
    found["images_per_second"] = measure_decode()
    return found


def measure_steps(case: Case, *, rank: int, workers: int) -> Found:
    """Time bare steps of a model half as deep, on the stage's own rows."""
    batches = [
        _read_batch(case, ids)
        for ids in case.positions(rank=rank, workers=workers, num_steps=WARM_UP + STEPS)
    ]
    whole = case.given.language_model
    half = whole.model_copy(update={"num_hidden_layers": whole.num_hidden_layers // 2})
    objective = Objective(
        case.build(half), moe=None, method=StandardMethod(), max_steps=100, seed=0
    )
    state = build_state(
        objective,
        training=case.config.training,
        collective=Collective(),
        device=torch.device("cpu"),
    )
    weights = [p for p in objective.parameters() if p.requires_grad]
    computing, updating = [], []
    for batch in batches:
        start = time.perf_counter()
        state.optimizer.zero_grad(set_to_none=True)
        (objective(batch, 0).loss_sum / count_labels(batch)).backward()
        middle = time.perf_counter()
        float(torch.nn.utils.clip_grad_norm_(weights, 1.0))
        state.optimizer.step()
        computing.append(middle - start)
        updating.append(time.perf_counter() - middle)
    num_weights = sum(p.numel() for p in weights)
    seconds = computing[WARM_UP:]
    rows = describe_rows(case, batches)
    flops = count_flops(case.config, replace(case.given, language_model=half), rows).total
    num_rows = statistics.fmean(len(batch["row_ids"]) for batch in batches[WARM_UP:])
    return {
        "flops_per_second": flops * num_rows / statistics.fmean(seconds),
        "flops_per_row": count_flops(case.config, case.given, rows).total,
        "tokens_per_row": rows.mean_tokens,
        "update_seconds_per_weight": statistics.fmean(updating[WARM_UP:]) / num_weights,
        "variation": statistics.stdev(seconds) / statistics.fmean(seconds),
        "pickled_bytes_per_row": len(pickle.dumps(case.source)) / case.source.num_rows,
    }


def describe_rows(case: Case, batches: list[Batch]) -> Rows:
    """Say how long rows are, padding included, for it is computed as well."""
    patches = case.given.vision.num_patches if case.given.vision else 0
    num_rows = sum(len(batch["row_ids"]) for batch in batches)
    tokens = sum(batch["input_ids"].numel() for batch in batches) / num_rows
    labels = sum(count_labels(batch) for batch in batches) / num_rows
    return Rows(tokens, round(tokens), labels / (tokens - patches), patches, assumptions=())


def measure_matrix() -> float:
    """Return the FLOP/s of a plain product of square matrices."""
    left = torch.ones(MATRIX, MATRIX)
    times = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        torch.mm(left, left)
        times.append(time.perf_counter() - start)
    return 2 * MATRIX**3 / statistics.fmean(times[WARM_UP:])


def measure_links() -> Found:
    """Time sums of a few bytes, and of many, over the processes of this machine."""
    small, large = torch.zeros(1), torch.zeros(LARGE_SUM // 4)
    few = _mean_sum(small, SMALL_SUMS)
    many = _mean_sum(large, LARGE_SUMS)
    workers = distributed.get_world_size()
    assert workers == 2, "a sum of two is one hop there and one back"
    return {"hop_seconds": few / 2, "bytes_per_second": LARGE_SUM / many}


def _mean_sum(tensor: torch.Tensor, repeats: int) -> float:
    distributed.all_reduce(tensor)
    start = time.perf_counter()
    for _ in range(repeats):
        distributed.all_reduce(tensor)
    return (time.perf_counter() - start) / repeats


def measure_checkpoints(folder: Path) -> Found:
    """Commit checkpoints of several sizes; a line through their times gives the constants."""
    sizes, times = [], []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        run = Path(scratch)
        attempt = begin_attempt(run)
        for step, size in enumerate([*CHECKPOINT_SIZES, *reversed(CHECKPOINT_SIZES)], start=1):
            third = torch.rand(int(size / 12))
            tensors = {"model": {"w": third}, "optimizer": {"a": third + 1, "b": third + 2}}
            start = time.perf_counter()
            path = commit_checkpoint(
                run, step=step, attempt=attempt, tensors=tensors, state={}, texts=TEXTS
            )
            times.append(time.perf_counter() - start)
            sizes.append(size)
        slope, fixed = np.polyfit(sizes, times, 1)
        file = path / "optimizer.safetensors"
        start = time.perf_counter()
        hash_file(file)
        hashing = time.perf_counter() - start
        hash_rate = file.stat().st_size / hashing
    return {
        "seconds": dict(zip(map(int, sizes[: len(CHECKPOINT_SIZES)]), times, strict=False)),
        "fixed_seconds": max(0.0, float(fixed)),
        "bytes_per_second": 1 / float(slope),
        "hash_bytes_per_second": hash_rate,
    }


def measure_records() -> float:
    """Time a step's record: JSON and TensorBoard."""
    record = {name: 1.5 for name in "abcdefghijklmnop"}
    with tempfile.TemporaryDirectory() as folder:
        log = MetricsLog(Path(folder), resume_step=0)
        start = time.perf_counter()
        for step in range(RECORDS):
            log.write({"step": step, **record})
        seconds = (time.perf_counter() - start) / RECORDS
        log.close()
    return seconds


def measure_decode() -> float:
    """Return the pictures a second that one thread decodes for ViT-B/32, of COCO's size."""
    generator = np.random.default_rng(0)
    rough = Image.fromarray(generator.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    smooth = np.asarray(rough.resize(JPEG_SHAPE[1::-1])).astype(np.int16)
    noisy = smooth + generator.integers(-JPEG_NOISE, JPEG_NOISE + 1, JPEG_SHAPE)
    file = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
        file, "JPEG", quality=JPEG_QUALITY, subsampling=0
    )
    data, done = file.getvalue(), 0
    decode_image(data, image_size=224)
    start = time.perf_counter()
    while time.perf_counter() - start < DECODE_SECONDS:
        decode_image(data, image_size=224)
        done += 1
    return done / (time.perf_counter() - start)


def _read_batch(case: Case, row_ids: np.ndarray) -> Batch:
    table = case.source.read(row_ids.reshape(-1))
    if case.image_size is not None:
        table = decode_table(table, image_size=case.image_size)
    step = collate_step(table, accumulation=1, pad_id=0, image_size=case.image_size)
    return step.micro_batches[0]


def _meet(workers: int) -> None:
    if workers > 1:
        distributed.barrier()


def measure_ray(setup: Path) -> Found:
    """Measure what Ray adds: an idle job, readers without a trainer, reports, actor calls."""
    found: Found = {}
    with ray_session(num_cpus=4), tempfile.TemporaryDirectory() as storage:
        for workers in (1, 2):
            trainer = TorchTrainer(
                probe_worker,
                train_loop_config={"setup": str(setup)},
                scaling_config=ScalingConfig(
                    num_workers=workers, resources_per_worker={"CPU": 1.5}
                ),
                torch_config=TorchConfig(backend="gloo"),
                run_config=RunConfig(name=f"probe-{workers}", storage_path=storage),
            )
            found[str(workers)] = trainer.fit().return_value
        found["actor_call_seconds"] = measure_calls()
    return found


def probe_worker(given: Found) -> Found:
    """Do all that a worker of phiray does, but compute."""
    quiet_ray()
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    cases = read_cases(Path(given["setup"]))
    _meet(workers)
    busy = busy_core_seconds()
    time.sleep(IDLE_SECONDS)
    found: Found = {"idle_cores": (busy_core_seconds() - busy) / IDLE_SECONDS}
    for name, case in cases.items():
        found[name] = probe_stream(case, rank=rank, workers=workers)
    waits = []
    pauses = random.Random(0)
    for _ in range(REPORTS):
        time.sleep(pauses.uniform(0.3, 1.3))
        _meet(workers)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Checkpoint.from_directory(folder) if rank == 0 else None
            ray.train.report({"step": 1}, checkpoint=checkpoint)
        waits.append(time.perf_counter() - start)
    found["report_seconds"] = statistics.fmean(waits)
    return found


def probe_stream(case: Case, *, rank: int, workers: int) -> Found:
    """Take rows as fast as they come, and count what cores do meanwhile."""
    positions = case.positions(rank=rank, workers=workers, num_steps=STREAM_STEPS)
    _meet(workers)
    start = time.perf_counter()
    steps = stream_steps(
        case.source, positions, pad_id=0, image_size=case.image_size, num_pipelines=workers
    )
    next(steps)
    first_seconds = time.perf_counter() - start
    _meet(workers)
    start, busy, rows = time.perf_counter(), busy_core_seconds(), 0
    for step in steps:
        rows += len(step.micro_batches[0]["row_ids"])
    seconds = time.perf_counter() - start
    _meet(workers)
    return {
        "first_seconds": first_seconds,
        "rows_per_second": rows / seconds,
        "core_seconds_per_row": (busy_core_seconds() - busy) / (rows * workers),
    }


def busy_core_seconds() -> float:
    """Return how long all cores together have worked since the machine started."""
    ticks = [int(text) for text in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _waiting, *interrupts = ticks
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


@ray.remote(num_cpus=0)
class _Answerer:
    def answer(self) -> None:
        """Do nothing, as a worker that is asked how it is."""


def measure_calls() -> float:
    """Time what a controller pays for each worker that it asks, by calls to one actor."""
    actor = _Answerer.remote()
    ray.get(actor.answer.remote())
    start = time.perf_counter()
    answers = [actor.answer.remote() for _ in range(CALLS)]
    ray.wait(answers, num_returns=CALLS)
    for answer in answers:
        ray.get(answer)
    return (time.perf_counter() - start) / CALLS


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["bare", "ray"])
    parser.add_argument("setup", type=Path)
    parser.add_argument("--rank", type=int, default=0)
    words = parser.parse_args()
    if words.what == "bare":
        # in a thread of its own, as Ray Train does
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(measure_bare, words.setup, rank=words.rank).result()
    else:
        outcome = measure_ray(words.setup)
    json.dump(outcome, sys.stdout)
