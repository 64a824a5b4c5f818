"""Train a small open_clip model on the training images, so that the frozen tower really sees.

Source: CLIP (arXiv 2103.00020): symmetric cross entropy between pictures and captions.
Limits: pixels of all training images are held in memory (12 kB each at 64 pixels); a step sees each
image at most once, with one of its captions.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own customary name)
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from safetensors import SafetensorError
from torch import Tensor, nn

from phiray.checkpoints.files import error_from_write, write_json, write_tensors
from phiray.config.data import ImageDataConfig
from phiray.config.model import VisionConfig
from phiray.config.presets import TINY_TOWER_EMBED_DIM, TINY_TOWER_LAYERS
from phiray.data.image_sets import caption_rows
from phiray.models.clip import GREY_LEVELS, build_clip_model
from phiray.models.clip_weights import CONFIG_NAME, WEIGHTS_NAME
from phiray.types import Progress
from phiray.world.clip_data import ClipData, read_clip_data
from phiray.world.clip_record import ClipRecord, hash_tower, write_record

TEXT_LAYERS = 2
TEXT_WIDTH = 128
HEAD_WIDTH = 32
BATCH_SIZE = 128
MAX_STEPS = 200
WARMUP_STEPS = 20
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
MAX_LOGIT_SCALE = math.log(100.0)
"""CLIP's own cap."""


def train_clip(
    data: ImageDataConfig,
    vision: VisionConfig,
    *,
    out: Path,
    seed: int,
    max_steps: int = MAX_STEPS,
    progress: Progress | None = None,
) -> ClipRecord:
    """Train on the training part of the captions and write an open_clip folder.

    Args:
        data: caption files, images, tokenizer and split; held-out images are never read.
        vision: the sizes of the tower.
        out: folder for `open_clip_config.json`, `open_clip_model.safetensors` and the record of
            this training.
        seed: of weights, order and choice of captions.
        max_steps: optimizer steps.
        progress: told of the reading and of each step.

    Returns:
        What the record of this training says.
    """
    rows = caption_rows(data, num_patches=vision.num_patches, seed=seed, progress=progress)
    clip_data = read_clip_data(
        rows.examples, rows.tokenizer, image_size=vision.image_size, progress=progress
    )
    model_cfg = small_model_cfg(vision, clip_data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_clip_model(model_cfg)
        _fit(model, clip_data, max_steps=max_steps, progress=progress)
    record = ClipRecord(
        num_images=len(clip_data.pixels),
        split=data.split,
        seed=seed,
        steps=max_steps,
        tower_sha256=hash_tower(model.state_dict()),
    )
    save_clip(out, model, model_cfg=model_cfg, record=record)
    return record


# Any: open_clip's own JSON config.
def small_model_cfg(vision: VisionConfig, clip_data: ClipData) -> dict[str, Any]:
    """Return open_clip's config of the small model."""
    return {
        "embed_dim": TINY_TOWER_EMBED_DIM,
        "quick_gelu": False,
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "width": vision.hidden_size,
            "layers": TINY_TOWER_LAYERS,
            "head_width": HEAD_WIDTH,
        },
        "text_cfg": {
            "context_length": clip_data.context_length,
            "vocab_size": clip_data.vocab_size,
            "width": TEXT_WIDTH,
            "heads": TEXT_WIDTH // HEAD_WIDTH,
            "layers": TEXT_LAYERS,
        },
    }


def save_clip(
    out: Path, model: nn.Module, *, model_cfg: dict[str, Any], record: ClipRecord
) -> None:
    """Write the folder that open_clip and phiray read.

    Raises:
        CheckpointError: if it cannot be written (73, 74, 77).
    """
    content = {
        "model_cfg": model_cfg,
        "preprocess_cfg": {"mean": OPENAI_DATASET_MEAN, "std": OPENAI_DATASET_STD},
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_tensors(out / WEIGHTS_NAME, model.state_dict())
        write_record(out, record)
        write_json(out / CONFIG_NAME, content)  # last, so that a folder with a config is whole
    except (OSError, SafetensorError) as error:
        raise error_from_write(error, what="The small CLIP", path=out) from error


def _fit(model: nn.Module, data: ClipData, *, max_steps: int, progress: Progress | None) -> None:
    model.train()
    optimizer = torch.optim.AdamW(_parameter_groups(model), lr=LEARNING_RATE, betas=(0.9, 0.98))
    batch_size = _batch_size(data)
    order = torch.randperm(len(data.pixels))  # (images,)
    start = 0
    for step in range(max_steps):
        if start + batch_size > len(order):
            order, start = torch.randperm(len(data.pixels)), 0  # (images,)
        chosen = order[start : start + batch_size]  # (batch,)
        start += batch_size
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _rate_fraction(step, max_steps)
        loss = _contrastive_loss(model, data, chosen)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        if progress is not None:
            progress("training the small CLIP", step + 1, max_steps)
    model.eval()


def _contrastive_loss(model: nn.Module, data: ClipData, chosen: Tensor) -> Tensor:
    """Pull each picture to one of its captions and away from those of the others."""
    captions = (torch.rand(len(chosen)) * data.num_captions[chosen]).long()  # (batch,)
    token_ids = data.token_ids[data.first_caption[chosen] + captions]  # (batch, context)
    # Any: open_clip's model has attributes and methods that torch's types do not know.
    clip: Any = model
    images, texts, scale = clip(normalised(data.pixels[chosen]), token_ids)
    logits = scale.clamp(max=math.exp(MAX_LOGIT_SCALE)) * images @ texts.T  # (batch, batch)
    targets = torch.arange(len(chosen))  # (batch,)
    loss = F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)
    return loss / 2


def normalised(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels (images, 3, height, width) into what the tower was trained on."""
    mean = torch.tensor(OPENAI_DATASET_MEAN).view(3, 1, 1)  # (3, 1, 1)
    std = torch.tensor(OPENAI_DATASET_STD).view(3, 1, 1)  # (3, 1, 1)
    return (pixels.float() / GREY_LEVELS - mean) / std


def _batch_size(data: ClipData) -> int:
    return min(BATCH_SIZE, len(data.pixels))


def _rate_fraction(step: int, max_steps: int) -> float:
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return warmup * (0.5 + 0.5 * math.cos(math.pi * step / max_steps))


def _parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
