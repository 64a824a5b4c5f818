"""Folders of runs as `phiray train` and `phiray eval` leave them, with made-up numbers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from phiray.config.stages import AlignConfig, AnyStageConfig, LitgptConfig, RunConfig, ScratchConfig
from phiray.config.training import MethodConfig, ScheduledSamplingMethod, StandardMethod
from phiray.evals.aggregate import aggregate_samples
from phiray.evals.gallery import select_ids, write_gallery
from phiray.evals.results import (
    Sample,
    SuiteResult,
    read_result,
    read_samples,
    write_result,
)
from phiray.evals.settings import EvalSettings

NUM_IMAGES = NUM_DOCUMENTS = 30
SETTINGS = EvalSettings(gallery_size=4)


def write_run(folder: Path, config: AnyStageConfig, *, steps: int = 20, loss: float = 3.0) -> None:
    """Write settings, metrics and manifest of a trained run."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (folder / "manifest.json").write_text(json.dumps({"commit": "abc", "versions": {"torch": "2"}}))
    records = [
        {
            "step": step,
            "train/loss_nats_per_token": loss + 2.0 / step,
            "label_tokens": 100,
            "step_seconds": 0.5,
        }
        for step in range(1, steps + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def write_lm_runs(root: Path) -> list[Path]:
    """Write `scratch` and `litgpt`, each scored on two sets beside the unigram."""
    configs: list[ScratchConfig | LitgptConfig] = [
        ScratchConfig(run=RunConfig(name="scratch")),
        LitgptConfig(run=RunConfig(name="litgpt")),
    ]
    for place, config in enumerate(configs):
        samples = []
        for name in ("gutenberg", "redpajama"):
            nats = {f"{config.run.name}@{name}": 90.0 + 20.0 * place, f"unigram@{name}": 200.0}
            for arm, level in nats.items():
                samples += [
                    Sample(
                        arm,
                        f"book:{k}",
                        f"book:{k}",
                        {
                            "bits_per_byte": [level + 3 * k, 60.0 + k],
                            "token_perplexity": [level + 3 * k, 30.0 + k],
                        },
                    )
                    for k in range(NUM_DOCUMENTS)
                ]
        folder = root / config.run.name
        write_run(folder, config, loss=3.0 + place)
        _write_suite(folder, "lm", config.run.name, samples)
    return [root / config.run.name for config in configs]


def change_data(folder: Path, suite: str, **changes: object) -> None:
    """Write a suite's result again, as if it had been made on other data."""
    place = folder / "evals" / suite
    result, samples = read_result(place), read_samples(place)
    write_result(place, replace(result, data={**result.data, **changes}), samples)


def write_align_runs(root: Path, *, answer: str = "a red circle") -> list[Path]:
    """Write `align-standard` and `align-scheduled-sampling` with pictures and blind rows."""
    methods: dict[str, MethodConfig] = {
        "align-standard": StandardMethod(),
        "align-scheduled-sampling": ScheduledSamplingMethod(),
    }
    for place, (name, method) in enumerate(methods.items()):
        config = AlignConfig(run=RunConfig(name=name), method=method)
        folder = root / name
        write_run(folder, config, loss=2.0)
        samples = []
        for arm, level in ((name, 0.8 - 0.1 * place), ("blank", 0.2), ("constant", 0.3)):
            for image in range(NUM_IMAGES):
                texts = {"reference": f"picture <b>{image}</b>", "answer": f"{answer} {image}"}
                columns = {"cider_d": [level + 0.01 * image, 1.0], "rouge_l": [level, 1.0]}
                if arm != "constant":
                    columns["bits_per_byte"] = [10.0 - 5 * level + place, 20.0]
                samples.append(Sample(arm, str(image), str(image), columns, texts))
        _write_suite(folder, "caption", name, samples)
        pixels = np.full((3, 16, 16), 120, dtype=np.uint8)
        chosen = select_ids(
            [str(image) for image in range(NUM_IMAGES)],
            seed=SETTINGS.seed,
            size=SETTINGS.gallery_size,
        )
        write_gallery(folder / "evals" / "caption", {int(image): pixels for image in chosen})
    return [root / name for name in methods]


def _write_suite(folder: Path, suite: str, run: str, samples: list[Sample]) -> None:
    result = SuiteResult(
        suite=suite,
        run=run,
        arms=aggregate_samples(samples, seed=0),
        data={"settings": SETTINGS.model_dump(mode="json"), "images": NUM_IMAGES},
        notes=[f"How {suite} is scored."],
        measured={"seconds": 1.0, "checkpoint": str(folder)},
    )
    write_result(folder / "evals" / suite, result, samples)
