"""Pixels against open_clip's own transform and transformers' CLIP image processor."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from open_clip.transform import image_transform
from PIL import Image
from transformers import CLIPImageProcessor

from phiray.images.decode import decode_image
from phiray.images.transform import resized_shape

MAX_GREY_LEVELS = 2
IMAGE_SIZE = 224

Pixels = npt.NDArray[np.int64]


def open_clip_pixels(data: bytes) -> Pixels:
    transform = image_transform(IMAGE_SIZE, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3)
    pixels = np.asarray(transform(Image.open(io.BytesIO(data))))
    return (pixels * 255).round().astype(np.int64)


def transformers_pixels(data: bytes) -> Pixels:
    processor = CLIPImageProcessor(do_normalize=False, do_rescale=False)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).astype(np.int64)


def our_pixels(data: bytes) -> Pixels:
    return decode_image(data, image_size=IMAGE_SIZE).astype(np.int64)


def real_images(shared_data: Path, *, limit: int | None = None) -> list[bytes]:
    folder = shared_data / "coco" / "images"
    return [path.read_bytes() for path in sorted(folder.glob("*2017/*.jpg"))[:limit]]


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def has_even_margin(data: bytes) -> bool:
    """Where the long side's margin is even, no crop rule has to round."""
    width, height = size_of(data)
    return (max(resized_shape(height, width, image_size=IMAGE_SIZE)) - IMAGE_SIZE) % 2 == 0


@pytest.mark.parametrize("size", [(640, 480), (500, 375)])
def test_pixels_equal_open_clip_where_crop_rules_agree(
    shared_data: Path, size: tuple[int, int]
) -> None:
    images = [data for data in real_images(shared_data) if size_of(data) == size]

    differences = [np.abs(our_pixels(data) - open_clip_pixels(data)) for data in images]

    assert images
    assert max(int(difference.max()) for difference in differences) <= MAX_GREY_LEVELS
    assert np.mean([difference.mean() for difference in differences]) < 0.01


@pytest.mark.parametrize("size", [(640, 427), (640, 480), (500, 375)])
def test_pixels_equal_transformers(shared_data: Path, size: tuple[int, int]) -> None:
    images = [data for data in real_images(shared_data) if size_of(data) == size]

    differences = [np.abs(our_pixels(data) - transformers_pixels(data)) for data in images]

    assert images
    assert max(int(difference.max()) for difference in differences) <= MAX_GREY_LEVELS


@pytest.mark.slow
def test_pixels_of_all_real_images_equal_both_libraries(shared_data: Path) -> None:
    images = real_images(shared_data)

    for data in images:
        ours = our_pixels(data)
        assert np.abs(ours - transformers_pixels(data)).max() <= MAX_GREY_LEVELS
        if has_even_margin(data):
            assert np.abs(ours - open_clip_pixels(data)).max() <= MAX_GREY_LEVELS
    assert len(images) > 300
