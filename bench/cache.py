"""Deliver an epoch of `align` from cached features, beside decoding and running ViT-B/32.

    python bench/cache.py DATA WORK > bench/results/cache.json

DATA holds COCO images, captions and a tokenizer; WORK keeps a tower of random weights and the
cache, which the first run fills. Each round decodes all images and runs the tower over them (32 at
a time, decoding in threads beside it, no Ray), then streams epochs of caption rows with features
through the real Ray Data pipeline, then makes training steps on pictures and on features in turn.
Limits: one machine, files in its page cache, random weights. The language model of the steps is
small, so that a step on a CPU takes about a second: `step` names its size.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import torch
from contention import commit
from demo import machine
from safetensors.torch import save_file

from phiray.batch import Batch
from phiray.config.data import ImageDataConfig, SplitConfig
from phiray.config.demo import find_tokenizer
from phiray.config.model import PhiConfig, ProjectorConfig, VisionConfig, rounded_vocab_size
from phiray.config.training import StandardMethod, TrainingConfig
from phiray.data.batches import read_batch
from phiray.data.cache.node_cache import NodeCache
from phiray.data.feature_view import FeatureView
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows
from phiray.data.order import OrderSettings, rank_positions, steps_per_epoch
from phiray.data.pipeline import stream_steps
from phiray.data.prefetch import prefetch_in_order
from phiray.data.sources.coco import CaptionedImage
from phiray.features.compute import BATCH
from phiray.features.prepare import Wanted, prepare_features
from phiray.images.decode import decode_image
from phiray.jobs.run_folder import package_versions
from phiray.models.build import build_language_model
from phiray.models.clip import ClipTower, build_clip_model
from phiray.models.freezing import freeze_for_stage
from phiray.models.projector import build_projector
from phiray.models.vision_language import VisionLanguageModel
from phiray.runtime import num_cores, ray_session
from phiray.training.collective import Collective
from phiray.training.objective import Objective
from phiray.training.state import build_state
from phiray.training.step import StepSettings, train_step

ROUNDS, WARM_EPOCHS, STEPS = 3, 5, 3
BATCH_ROWS, STEP_ROWS = 32, 16
CLIP = "ViT-B-32-quickgelu"
CPU = torch.device("cpu")
Rates = dict[str, list[float]]
Captions = ImageRows[CaptionedImage]


def main(data: Path, work: Path) -> None:
    """Print rates and times of all rounds as JSON."""
    torch.set_num_threads(num_cores())
    config = image_config(data)
    rows = caption_rows(config, num_patches=49, seed=0)
    tower = ClipTower(write_tower(work / "clip"))
    paths = [example.path for example in rows.examples]
    images = Path(config.root) / config.images
    view = make_cache(rows, tower, work / "features", images=images)
    rates: Rates = {}
    steps = Steps(rows, rows.with_features(view), tower, view)
    with ray_session(num_cpus=2):
        for _ in range(ROUNDS):
            features, seconds = run_tower(tower, paths)
            rates.setdefault("decode_and_tower_images_per_second", []).append(len(paths) / seconds)
            stream(rows.with_features(view), view, rates)
            steps.measure(rates)
    record = {
        "machine": machine(),
        "commit": commit(),
        "versions": package_versions(),
        "images": len(paths),
        "rows": rows.num_rows,
        "feature_shape": view.shape,
        "rounds": ROUNDS,
        "warm_epochs_per_round": WARM_EPOCHS,
        "step": steps.describe(),
        "stored_features_equal_to_rounded": compare(features, rows, view),
        **{name: spread(found) for name, found in rates.items()},
        "times_faster": times_faster(rates),
    }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def image_config(data: Path) -> ImageDataConfig:
    """Take every captioned image: one in a million is held out."""
    return ImageDataConfig(
        root=str(data),
        tokenizer=find_tokenizer(data),
        split=SplitConfig(heldout_fraction=1e-6),
        max_bad_fraction=0.01,
    )


def write_tower(folder: Path) -> VisionConfig:
    """Write open_clip's folder of a ViT-B/32 with random weights of a seed."""
    model_cfg = open_clip.get_model_config(CLIP)
    file = folder / "open_clip_model.safetensors"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        state = build_clip_model(model_cfg).get_submodule("visual").state_dict()
        save_file({f"visual.{name}": tensor.contiguous() for name, tensor in state.items()}, file)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))
    return VisionConfig(model="custom", weights=str(folder))


def make_cache(rows: Captions, tower: ClipTower, folder: Path, *, images: Path) -> FeatureView:
    """Fill the cache, or find it filled."""
    paths = [example.path for example in rows.examples]
    found = prepare_features(
        Wanted(images, paths, max_bad_fraction=0.0), tower, cache=folder, device=CPU
    )
    sys.stderr.write(f"{found.num_computed} of {len(paths)} computed\n")
    return FeatureView(found.file, cache=NodeCache())


def run_tower(tower: ClipTower, paths: list[Path]) -> tuple[torch.Tensor, float]:
    """Decode and run the tower; return features (images, patches, vision_hidden), and seconds."""

    def decode(path: Path) -> np.ndarray:
        return decode_image(path.read_bytes(), image_size=tower.image_size)

    found: list[torch.Tensor] = []
    start = time.perf_counter()
    decoded = prefetch_in_order(decode, iter(paths), num_threads=num_cores())
    for pixels in batches(decoded):
        found.append(tower(torch.from_numpy(np.stack(pixels))))
    seconds = time.perf_counter() - start
    return torch.cat(found), seconds


def batches(items: Iterator[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Cut into lists of BATCH."""
    batch: list[np.ndarray] = []
    for item in items:
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def stream(rows: Captions, view: FeatureView, rates: Rates) -> None:
    """Stream epochs of rows to this process, as to a worker that does nothing else."""
    order = OrderSettings(0, rows.num_rows, BATCH_ROWS)
    epoch_steps = steps_per_epoch(order)
    positions = rank_positions(
        order,
        rank=0,
        world=1,
        accumulation=1,
        start_step=0,
        num_steps=epoch_steps * (1 + WARM_EPOCHS),
    )
    start = time.perf_counter()
    steps = stream_steps(
        rows, positions, pad_id=0, image_size=224, feature_shape=view.shape, num_pipelines=1
    )
    for index, step in enumerate(steps):
        (batch,) = step.micro_batches
        assert len(batch["image_features"]) == int((batch["row_ids"] >= 0).sum())
        if index == 0:
            note(rates, "cached_first_batch_seconds", time.perf_counter() - start)
        if (index + 1) % epoch_steps == 0:
            now = time.perf_counter()
            kind = "cold_epoch_start_included" if index < epoch_steps else "warm_epoch"
            note(rates, f"cached_{kind}_rows_per_second", rows.num_rows / (now - start))
            start = now


class Steps:
    """Training steps of `align` on the same rows, from pictures and from features."""

    def __init__(
        self, rows: Captions, cached: Captions, tower: ClipTower, view: FeatureView
    ) -> None:
        vocab_size = rounded_vocab_size(rows.tokenizer.vocab_size)
        self._language = PhiConfig(
            vocab_size=vocab_size,
            hidden_size=512,
            intermediate_size=2048,
            num_hidden_layers=8,
            num_attention_heads=8,
            partial_rotary_factor=0.5,
        )
        model = VisionLanguageModel(
            build_language_model(self._language, kind="phi", seed=0),
            tower,
            build_projector(
                ProjectorConfig(),
                vision_hidden_size=tower.config.hidden_size,
                hidden_size=self._language.hidden_size,
                seed=0,
            ),
            image_token_id=rows.tokenizer.image_id,
        )
        freeze_for_stage(model, "align")
        objective = Objective(model, moe=None, method=StandardMethod(), max_steps=99, seed=0)
        self._parameters = sum(p.numel() for p in model.language_model.parameters())
        self._state = build_state(
            objective, training=TrainingConfig(), collective=Collective(), device=CPU
        )
        chosen = np.random.default_rng(0).choice(rows.num_rows, STEP_ROWS, replace=False)
        pad_id = rows.tokenizer.pad_id
        self._batches: dict[str, Batch] = {
            "pictures": read_batch(rows, chosen, pad_id=pad_id, image_size=224)[0],
            "features": read_batch(
                cached, chosen, pad_id=pad_id, image_size=224, feature_shape=view.shape
            )[0],
        }

    def describe(self) -> dict[str, object]:
        """Return the sizes of the model and of a step."""
        return {
            "rows": STEP_ROWS,
            "seq": self._batches["features"]["input_ids"].shape[1],
            "language_model_parameters": self._parameters,
            "hidden_size": self._language.hidden_size,
            "num_hidden_layers": self._language.num_hidden_layers,
            "vocab_size": self._language.vocab_size,
            "decoding": "before the step, not in its time",
        }

    def measure(self, rates: Rates) -> None:
        """Make steps in turn, and keep their times."""
        for _ in range(STEPS):
            for kind, batch in self._batches.items():
                start = time.perf_counter()
                train_step(
                    self._state.module,
                    self._state.optimizer,
                    micro_batches=[batch],
                    step=0,
                    settings=StepSettings(1.0, "fp32", CPU),
                    collective=Collective(),
                )
                note(rates, f"step_on_{kind}_seconds", time.perf_counter() - start)


def compare(features: torch.Tensor, rows: Captions, view: FeatureView) -> dict[str, object]:
    """Compare what the cache holds with bf16 rounding of what the tower gave in the last round."""
    wanted = features.to(torch.bfloat16)
    first_row = np.cumsum([0, *(len(example.captions) for example in rows.examples)])[:-1]
    batch, _ = read_batch(
        rows.with_features(view), first_row, pad_id=0, image_size=224, feature_shape=view.shape
    )
    found = batch["image_features"]
    return {
        "bit_equal_fraction": float((found == wanted).float().mean()),
        "relative_error_to_fp32": float(
            (found.double() - features.double()).norm() / features.double().norm()
        ),
    }


def times_faster(rates: Rates) -> dict[str, float]:
    """Divide medians: rows delivered by images decoded and encoded; a step by a step."""
    medians = {name: statistics.median(found) for name, found in rates.items()}
    tower = medians["decode_and_tower_images_per_second"]
    slowest = min(rates["cached_warm_epoch_rows_per_second"])
    fastest_tower = max(rates["decode_and_tower_images_per_second"])
    cold = medians["cached_cold_epoch_start_included_rows_per_second"]
    return {
        "delivery_warm_epoch": round(medians["cached_warm_epoch_rows_per_second"] / tower, 1),
        "delivery_warm_epoch_worst_against_best": round(slowest / fastest_tower, 1),
        "delivery_first_epoch_with_start": round(cold / tower, 1),
        "step": round(medians["step_on_pictures_seconds"] / medians["step_on_features_seconds"], 2),
    }


def note(rates: Rates, name: str, value: float) -> None:
    """Keep one measurement."""
    rates.setdefault(name, []).append(value)


def spread(found: list[float]) -> dict[str, float]:
    """Give median and range."""
    return {
        "min": round(min(found), 3),
        "median": round(statistics.median(found), 3),
        "max": round(max(found), 3),
        "count": len(found),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
