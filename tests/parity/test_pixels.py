"""Pixels against open_clip's own transform and transformers' CLIP image processor."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, Compose
from transformers import CLIPImageProcessor

from phiray.images.decode import decode_image

MAX_GREY_LEVELS = 2
MEAN_GREY_LEVELS = 0.01
IMAGE_SIZE = 224

Pixels = npt.NDArray[np.int64]


def crop_rounding_down(image: Image.Image) -> Image.Image:
    """Cut out the centre as transformers does, and as we do."""
    left, top = (image.width - IMAGE_SIZE) // 2, (image.height - IMAGE_SIZE) // 2
    return image.crop((left, top, left + IMAGE_SIZE, top + IMAGE_SIZE))


def open_clip_pixels(data: bytes, *, rounds_down: bool = False) -> Pixels:
    """Run open_clip's own transform, or all of it but for the rounding of its crop."""
    transform = image_transform(IMAGE_SIZE, is_train=False, mean=(0.0,) * 3, std=(1.0,) * 3)
    if rounds_down:
        steps = [
            crop_rounding_down if isinstance(t, CenterCrop) else t for t in transform.transforms
        ]
        assert steps != transform.transforms
        transform = Compose(steps)
    pixels = np.asarray(transform(Image.open(io.BytesIO(data))))
    return (pixels * 255).round().astype(np.int64)


def transformers_pixels(data: bytes) -> Pixels:
    processor = CLIPImageProcessor(do_normalize=False, do_rescale=False)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(processor(image, return_tensors="np")["pixel_values"][0]).astype(np.int64)


def our_pixels(data: bytes) -> Pixels:
    return decode_image(data, image_size=IMAGE_SIZE).astype(np.int64)


def real_images(shared_data: Path) -> list[bytes]:
    folder = shared_data / "coco" / "images"
    return [path.read_bytes() for path in sorted(folder.glob("*/*.jpg"))]


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


@pytest.mark.parametrize("size", [(640, 480), (500, 375)])
def test_pixels_equal_open_clip_where_crop_rules_agree(
    shared_data: Path, size: tuple[int, int]
) -> None:
    images = [data for data in real_images(shared_data) if size_of(data) == size]

    differences = [np.abs(our_pixels(data) - open_clip_pixels(data)) for data in images]

    assert images
    assert max(int(difference.max()) for difference in differences) <= MAX_GREY_LEVELS
    assert np.mean([difference.mean() for difference in differences]) < MEAN_GREY_LEVELS


@pytest.mark.parametrize("size", [(640, 427), (640, 480), (500, 375)])
def test_pixels_equal_transformers(shared_data: Path, size: tuple[int, int]) -> None:
    images = [data for data in real_images(shared_data) if size_of(data) == size]

    differences = [np.abs(our_pixels(data) - transformers_pixels(data)) for data in images]

    assert images
    assert max(int(difference.max()) for difference in differences) <= MAX_GREY_LEVELS


@pytest.mark.slow
def test_pixels_of_all_real_images_equal_both_libraries(shared_data: Path) -> None:
    """Of every image, with our crop's rounding; three of them are grayscale."""
    images = real_images(shared_data)
    means, num_grey = [], 0

    for data in images:
        ours = our_pixels(data)
        difference = np.abs(ours - open_clip_pixels(data, rounds_down=True))
        assert difference.max() <= MAX_GREY_LEVELS
        assert np.abs(ours - transformers_pixels(data)).max() <= MAX_GREY_LEVELS
        means.append(difference.mean())
        with Image.open(io.BytesIO(data)) as image:
            num_grey += image.mode == "L"

    assert len(images) == 498
    assert num_grey == 3
    assert np.mean(means) < MEAN_GREY_LEVELS
