"""A small frozen tower and a folder of pictures, for tests of the feature cache."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from phiray.config.model import VisionConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.feature_view import FeatureView
from phiray.data.image_rows import ImageRows
from phiray.data.image_sets import caption_rows
from phiray.data.sources.coco import CaptionedImage
from phiray.features.prepare import PreparedFeatures, Wanted, prepare_features
from phiray.images.decode import decode_image
from phiray.models.clip import ClipTower, build_clip_model
from phiray.types import Progress
from tests.image_builders import NUM_PATCHES, encoded_image, file_name, write_image_world
from tests.stage_builders import CLIP_CFG, IMAGE_SIZE, PATCH_SIZE, VISION_HIDDEN, write_clip

CPU = torch.device("cpu")


def build_tower(folder: Path, *, seed: int = 1, pooling: int = 1) -> ClipTower:
    """Write a tower's folder and read it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        visual = build_clip_model(CLIP_CFG).get_submodule("visual")
    write_clip(folder, dict(visual.state_dict()))
    config = VisionConfig(
        model="custom",
        weights=str(folder),
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        hidden_size=VISION_HIDDEN,
        pooling=pooling,
    )
    return ClipTower(config)


def write_pictures(folder: Path, number: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / file_name(image_id) for image_id in range(1, number + 1)]
    for image_id, path in enumerate(paths, start=1):
        path.write_bytes(encoded_image(image_id))
    return paths


def rounded(tower: ClipTower, data: bytes) -> Tensor:
    """Compute one picture's features, by itself: (patches, vision_hidden) bf16."""
    pixels = torch.from_numpy(decode_image(data, image_size=IMAGE_SIZE))[None]
    features: Tensor = tower(pixels)[0]
    return features.to(torch.bfloat16)


def rows_with_features(folder: Path) -> tuple[ImageRows[CaptionedImage], FeatureView]:
    """Write a small world and a tower; give its captions with features, a bad one among them."""
    rows = caption_rows(write_image_world(folder), num_patches=NUM_PATCHES, seed=0)
    paths = [Path(str(example.path)) for example in rows.examples]
    paths[1].write_bytes(b"no picture")
    images = folder / "coco" / "images"
    found = prepare(paths, build_tower(folder / "clip"), folder / "cache", folder=images)
    view = FeatureView(found.file, cache=NodeCache())
    return rows.with_features(view), view


def prepare(
    paths: list[Path],
    tower: ClipTower,
    cache: Path,
    *,
    folder: Path | None = None,
    max_bad_fraction: float = 1.0,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> PreparedFeatures:
    return prepare_features(
        Wanted(folder or paths[0].parent, paths, max_bad_fraction),
        tower,
        cache=cache,
        device=CPU,
        progress=progress,
        note=note,
    )
