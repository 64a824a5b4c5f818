"""A small COCO and LLaVA world for tests: pictures, captions and conversations on disk."""

import io
import json
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from phiray.config.data import ImageDataConfig
from phiray.data.split import Part
from phiray.stages.images import AnyImageRows
from tests.text_builders import write_tokenizer

NUM_IMAGES = 12
CAPTIONS_PER_IMAGE = 2
IMAGE_SIZE = 16
NUM_PATCHES = 4


class BuildRows(Protocol):
    """Either of the two functions that make rows of an image data set."""

    def __call__(
        self, config: ImageDataConfig, *, num_patches: int, seed: int, part: Part = "train"
    ) -> AnyImageRows: ...


def encoded_image(
    seed: int, *, width: int = 40, height: int = 32, format: str = "JPEG", mode: str = "RGB"
) -> bytes:
    """Draw coloured blocks and encode them."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(colours).resize((width, height), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, format)
    return buffer.getvalue()


def file_name(image_id: int) -> str:
    return f"{image_id:012d}.jpg"


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def coco_content(num_images: int = NUM_IMAGES) -> dict[str, list[dict[str, object]]]:
    """Build the caption file of images 1 .. num_images."""
    ids = range(1, num_images + 1)
    return {
        "images": [{"id": image_id, "file_name": file_name(image_id)} for image_id in ids],
        "annotations": [
            {"id": 10 * image_id + k, "image_id": image_id, "caption": f" Box {image_id} at {k}.\n"}
            for image_id in ids
            for k in range(CAPTIONS_PER_IMAGE)
        ],
    }


def llava_row(image_id: int, *, question: str = "<image>\nWhat is it?") -> dict[str, object]:
    return {
        "id": f"{image_id:012d}",
        "image": f"train2017/{file_name(image_id)}",
        "conversations": [
            {"from": "human", "value": question},
            {"from": "gpt", "value": f"Box {image_id}."},
            {"from": "human", "value": "Where?"},
            {"from": "gpt", "value": "Left."},
        ],
    }


def text_row(number: int) -> dict[str, object]:
    """Build a conversation without an image."""
    return {
        "id": f"text-{number}",
        "conversations": [
            {"from": "human", "value": f"What is {number} and one?"},
            {"from": "gpt", "value": f"It is {number + 1}."},
        ],
    }


def with_text_rows(
    config: ImageDataConfig, num_texts: int, *, folder: Path | None = None
) -> ImageDataConfig:
    """Write a second file of conversations, which have no image, and name it in the settings."""
    file = (folder or Path(config.root) / "instruct") / "texts.json"
    write_json(file, [text_row(number) for number in range(num_texts)])
    return config.model_copy(update={"conversations": [*config.conversations, str(file)]})


def write_images(root: Path, num_images: int = NUM_IMAGES) -> Path:
    """Write root/coco/images/train2017/*.jpg; return root/coco/images."""
    folder = root / "coco" / "images" / "train2017"
    folder.mkdir(parents=True)
    for image_id in range(1, num_images + 1):
        (folder / file_name(image_id)).write_bytes(encoded_image(image_id))
    return folder.parent


def write_image_world(root: Path) -> ImageDataConfig:
    """Write images, captions, conversations and a tokenizer; return the settings that find them."""
    write_images(root)
    write_tokenizer(root)
    write_json(root / "coco" / "annotations" / "captions_train2017.json", coco_content())
    rows = [llava_row(image_id) for image_id in range(1, NUM_IMAGES + 1)]
    write_json(root / "instruct" / "llava_instruct_150k.json", rows)
    return ImageDataConfig(root=str(root))
