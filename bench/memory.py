"""Compare the memory that `phiray plan` foretells with what a training step takes.

    python bench/memory.py > bench/results/memory.json           # on the CPU, five minutes
    python bench/memory.py --device cuda > bench/results/memory-gpu.json

One fresh process for each measurement, real steps on random rows. On the CPU: the largest resident
size, less that after the imports and one product; on a GPU `torch.cuda.max_memory_allocated`.
Limits: one worker; towers and language models with random weights.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from contention import commit
from demo import machine

from phiray.batch import Batch
from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig, VisionConfig
from phiray.config.training import (
    MethodConfig,
    ScheduledSamplingMethod,
    StandardMethod,
    TrainingConfig,
)
from phiray.models.build import build_language_model
from phiray.models.clip import ClipTower, build_clip_model
from phiray.models.freezing import freeze_for_stage
from phiray.models.litgpt_gpt import build_gpt  # what it imports belongs to the base
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.planning.given import GivenModel
from phiray.planning.memory import Memory, Setup, estimate_memory
from phiray.planning.parameters import Tower
from phiray.training.collective import Collective
from phiray.training.objective import Objective
from phiray.training.state import build_state
from phiray.training.step import StepSettings, train_step
from phiray.types import IGNORE_INDEX

assert build_gpt
ROUNDS, STEPS = 3, 3
KIB, MIB = 2**10, 2**20
SMALL = PhiConfig(
    hidden_size=400, intermediate_size=1600, num_hidden_layers=6, num_attention_heads=10
)
"""With Phi-2's vocabulary of 51,200."""
EXPERTS = MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=400)
VISION = VisionConfig()
TOWER = Tower(224, 32, 768, 12, 3072, 512)
VISION_CFG = {"image_size": 224, "patch_size": 32, "width": 768, "layers": 12}


TEACHER_FORCED = StandardMethod()


@dataclass(frozen=True)
class Case:
    """One kind of step."""

    stage: str = "scratch"
    model: PhiConfig = SMALL
    rows: int = 8
    row_tokens: int = 256
    micro_batches: int = 1
    is_bf16: bool = False
    method: MethodConfig = TEACHER_FORCED
    label_fraction: float = 1.0

    @property
    def sees(self) -> bool:
        """Whether rows have images."""
        return self.stage in ("align", "instruct")

    def given(self) -> GivenModel:
        """Return the sizes of the model."""
        if not self.sees:
            return GivenModel(self.model)
        return GivenModel(self.model, VISION, ProjectorConfig(), TOWER)

    def num_labels(self) -> int:
        """Return the label tokens of a micro-batch."""
        per_row = self.row_tokens - 1
        if self.sees:
            per_row = round((self.row_tokens - VISION.num_patches) * self.label_fraction)
        return self.rows * per_row

    def setup(self, *, on_gpu: bool) -> Setup:
        """Return what `phiray plan` would make of it."""
        filled = caches = 0
        if isinstance(self.method, ScheduledSamplingMethod):
            filled = round(self.num_labels() * (1 - self.method.end))
            caches = self.method.rollout == "exact"
        return Setup(
            trains_language_model=self.stage != "align",
            rows=self.rows,
            row_tokens=self.row_tokens,
            labels=self.num_labels(),
            is_bf16=self.is_bf16,
            accumulates=self.micro_batches > 1,
            on_gpu=on_gpu,
            rollout_labels=filled,
            rollout_caches=bool(caches),
        )


PARALLEL = ScheduledSamplingMethod(start=0.5, end=0.5)
CPU_CASES = {
    "scratch, 2 rows of 256": Case(rows=2),
    "scratch, 8 rows of 256": Case(),
    "scratch, 8 rows of 512": Case(row_tokens=512),
    "scratch, 2 micro-batches of 8 rows": Case(micro_batches=2),
    "scratch, experts": Case(model=SMALL.model_copy(update={"moe": EXPERTS})),
    "scratch, soft experts": Case(
        model=SMALL.model_copy(update={"moe": EXPERTS.model_copy(update={"kind": "soft"})})
    ),
    "litgpt": Case(stage="litgpt"),
    "align, 32 rows of 80": Case(stage="align", rows=32, row_tokens=80),
    "align, scheduled sampling": Case(stage="align", rows=32, row_tokens=80, method=PARALLEL),
    "instruct, 8 rows of 256": Case(stage="instruct", label_fraction=0.6),
    "instruct, 2 micro-batches": Case(stage="instruct", label_fraction=0.6, micro_batches=2),
}
PHI2_EXPERTS = MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=640)
GPU_CASES = {
    "scratch of phi-2, 1 row": Case(
        model=PhiConfig(moe=PHI2_EXPERTS), rows=1, row_tokens=2048, micro_batches=2, is_bf16=True
    ),
    "litgpt of phi-2, 2 rows": Case(
        stage="litgpt", model=PhiConfig(), rows=2, row_tokens=2048, micro_batches=2, is_bf16=True
    ),
    "align of phi-2, 32 rows": Case(
        stage="align", model=PhiConfig(), rows=32, row_tokens=80, micro_batches=2, is_bf16=True
    ),
    "instruct of phi-2, 8 rows": Case(
        stage="instruct", model=PhiConfig(), row_tokens=512, micro_batches=2, is_bf16=True
    ),
}


def main(device: str) -> None:
    """Print estimate, median and range of each case as JSON."""
    cases = CPU_CASES if device == "cpu" else GPU_CASES
    found: dict[str, list[int]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name in cases:
            words = [sys.executable, __file__, "--device", device, "--case", name]
            run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(int(run.stdout))
    rows = {name: compare(cases[name], found[name], on_gpu=device != "cpu") for name in cases}
    record = {
        "machine": machine(),
        "commit": commit(),
        "device": device,
        "rounds": ROUNDS,
        "largest_difference": max(abs(row["difference"]) for row in rows.values()),
        "cases": rows,
    }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def compare(case: Case, found: list[int], *, on_gpu: bool) -> dict[str, object]:
    """Lay the estimate beside what was measured, in MiB."""
    memory: Memory = estimate_memory(case.given(), case.setup(on_gpu=on_gpu))
    median = statistics.median(found)
    return {
        "estimate_mib": round(memory.total / MIB),
        "median_mib": round(median / MIB),
        "range_mib": [round(min(found) / MIB), round(max(found) / MIB)],
        "difference": round(memory.total / median - 1, 4),
        "parts_mib": {
            name: round(value / MIB) if isinstance(value, int) else value
            for name, value in asdict(memory).items()
        },
    }


def measure(case: Case, device_name: str) -> int:
    """Train some steps in this process; return the bytes of the peak."""
    device = torch.device(device_name)
    torch.mm(torch.ones(512, 512, device=device), torch.ones(512, 512, device=device))
    base = resident_bytes()
    model: torch.nn.Module = build_language_model(
        case.model, kind="litgpt" if case.stage == "litgpt" else "phi", seed=0
    )
    if case.sees:
        cfg = {
            "embed_dim": 512,
            "vision_cfg": VISION_CFG,
            "quick_gelu": True,
            "text_cfg": {"context_length": 2, "vocab_size": 2, "width": 8, "heads": 1, "layers": 1},
        }
        weights = build_clip_model(cfg).get_submodule("visual").state_dict()
        projector = build_projector(
            ProjectorConfig(), vision_hidden_size=768, hidden_size=case.model.hidden_size
        )
        model = VisionLanguageModel(
            model,  # type: ignore[arg-type]
            ClipTower.from_state(VISION, cfg, weights),
            projector,
            image_token_id=50_296,
        )
        del weights
    freeze_for_stage(model, case.stage)
    objective = Objective(model, moe=case.model.moe, method=case.method, max_steps=STEPS, seed=0)
    collective = Collective()
    state = build_state(objective, training=TrainingConfig(), collective=collective, device=device)
    for step in range(STEPS):
        train_step(
            state.module,
            state.optimizer,
            micro_batches=[batch_of(case) for _ in range(case.micro_batches)],
            step=step,
            settings=StepSettings(1.0, "bf16" if case.is_bf16 else "fp32", device),
            collective=collective,
        )
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB - base


def resident_bytes() -> int:
    """Return what this process holds now."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * KIB


def batch_of(case: Case) -> Batch:
    """Make random rows of the case."""
    tokens = torch.randint(1, 50_000, (case.rows, case.row_tokens))  # (batch, seq)
    labels = tokens.clone()
    batch = Batch(
        input_ids=tokens,
        attention_mask=torch.ones_like(tokens),
        labels=labels,
        loss_weights=torch.ones(case.rows),
        row_ids=torch.arange(case.rows),
    )
    if case.sees:
        tokens[:, : VISION.num_patches] = 50_296
        prompt = case.row_tokens - case.num_labels() // case.rows
        labels[:, :prompt] = IGNORE_INDEX
        batch["pixel_values"] = torch.randint(0, 256, (case.rows, 3, 224, 224), dtype=torch.uint8)
    return batch


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--case")
    given = parser.parse_args()
    if given.case is None:
        main(given.device)
    else:
        cases = CPU_CASES if given.device == "cpu" else GPU_CASES
        sys.stdout.write(str(measure(cases[given.case], given.device)))
