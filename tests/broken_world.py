"""A world of many small images, of which a share is broken, in as many ways as there are."""

import itertools
import json
from collections import Counter
from pathlib import Path

from phiray.config.data import SplitConfig
from phiray.config.stages import AlignConfig
from phiray.data.order import OrderSettings, rank_positions
from phiray.data.split import image_key, part_of
from phiray.training.metrics_log import read_metrics
from phiray.training.quarantine import QUARANTINE_NAME
from tests.image_builders import encoded_image, file_name, write_json
from tests.odd_images import BROKEN, break_images
from tests.ray.run_builders import Inputs
from tests.stage_builders import align_config, training

NUM_KINDS = len(BROKEN) + 1
NUM_TRAINED = 100 * NUM_KINDS
"""Training images, of one caption each: one of each kind is broken where 1 % are."""
SPLIT = SplitConfig(heldout_fraction=0.02)
SIZE = 32
BATCH = 70


def write_broken_world(
    root: Path, inputs: Inputs, *, percent: int, num_planted: int = 0
) -> dict[int, str]:
    """Write images and captions; return the reason of each row id that is broken.

    Besides, copies of so many held-out images are planted in the training set, under other ids and
    the names of another year.
    """
    folder = root / "coco" / "images"
    folder.mkdir(parents=True)
    (root / "tokenizer").symlink_to(inputs.world / "tokenizer")
    trained, heldout = _ids_by_part()
    for image_id in trained + heldout:
        data = encoded_image(image_id, width=SIZE, height=SIZE)
        (folder / file_name(image_id)).write_bytes(data)
    names = {image_id: file_name(image_id) for image_id in sorted(trained + heldout)}
    for planted, copied in list(zip(trained[1:], heldout, strict=False))[:num_planted]:
        (folder / file_name(planted)).unlink()
        names[planted] = f"COCO_train2014_{planted:012d}.jpg"
        (folder / names[planted]).write_bytes((folder / file_name(copied)).read_bytes())
    content = {
        "images": [{"id": i, "file_name": name} for i, name in names.items()],
        "annotations": [{"id": i, "image_id": i, "caption": "A red box."} for i in names],
    }
    write_json(root / "coco" / "annotations" / "captions_train2017.json", content)
    step = 100 // percent
    rows = range(step - 1, NUM_TRAINED, step)
    reasons = break_images([folder / file_name(trained[row]) for row in rows])
    return dict(zip(rows, reasons, strict=True))


def _ids_by_part() -> tuple[list[int], list[int]]:
    """Count up until there are enough training images."""
    trained: list[int] = []
    heldout: list[int] = []
    for image_id in itertools.count(1):
        is_trained = part_of(image_key(image_id), SPLIT) == "train"
        (trained if is_trained else heldout).append(image_id)
        if len(trained) == NUM_TRAINED:
            break
    return trained, heldout


def broken_config(
    root: Path, runs: Path, inputs: Inputs, *, max_bad_fraction: float
) -> AlignConfig:
    """Train on each row once."""
    config = align_config(root, runs, clip=inputs.clip, language_model=inputs.language_model)
    data = {"split": SPLIT, "max_bad_fraction": max_bad_fraction}
    steps = {"global_batch_size": BATCH, "log_row_ids": True}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=data),
            "training": training(NUM_TRAINED // BATCH).model_copy(update=steps),
        }
    )


def check_broken_run(config: AlignConfig, run_dir: Path, broken: dict[int, str]) -> None:
    """Every broken row is counted under its reason, and every other one is where it was planned."""
    lines = (run_dir / QUARANTINE_NAME).read_text().splitlines()
    quarantine = [json.loads(line) for line in lines]
    assert {entry["row_id"]: entry["reason"] for entry in quarantine} == broken
    assert len(quarantine) == len(broken)
    records = read_metrics(run_dir)
    assert records[-1]["bad_rows"] == len(broken)
    counts = {f"bad_rows/{r.replace(' ', '_')}": n for r, n in Counter(broken.values()).items()}
    found = {name: n for name, n in records[-1].items() if name.startswith("bad_rows/")}
    assert found == counts
    order = OrderSettings(config.run.seed, NUM_TRAINED, BATCH)
    planned = rank_positions(
        order, rank=0, world=1, accumulation=1, start_step=0, num_steps=len(records)
    )
    sound = [[row for row in step.ravel().tolist() if row not in broken] for step in planned]
    assert [sorted(_row_ids(record)) for record in records] == [sorted(rows) for rows in sound]
    assert sum(map(len, sound)) == NUM_TRAINED - len(broken)


def _row_ids(record: dict[str, object]) -> list[int]:
    row_ids = record["row_ids"]
    assert isinstance(row_ids, list)
    return row_ids
