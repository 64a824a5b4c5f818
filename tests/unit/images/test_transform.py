import pytest
import torch

from phiray.errors import ShapeError
from phiray.images.transform import resize_and_crop, resized_shape


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (224, 298)), (640, 427, (335, 224)), (427, 640, (224, 335)), (50, 50, (224, 224))],
)
def test_resized_shape_cuts_the_long_side_to_a_whole_number(
    height: int, width: int, expected: tuple[int, int]
) -> None:
    assert resized_shape(height, width, image_size=224) == expected


def test_resize_and_crop_rounds_the_margin_down() -> None:
    row = torch.arange(7, dtype=torch.uint8) * 10
    pixels = row.expand(3, 4, 7)

    square = resize_and_crop(pixels, image_size=4)

    assert square[0, 0].tolist() == [10, 20, 30, 40]  # margin (7 - 4) // 2 = 1, not round(1.5) = 2


def test_resize_and_crop_keeps_a_plain_colour() -> None:
    pixels = torch.tensor([10, 200, 255], dtype=torch.uint8)[:, None, None].expand(3, 90, 33)

    square = resize_and_crop(pixels, image_size=16)

    assert square.shape == (3, 16, 16)
    assert square.is_contiguous()
    assert torch.equal(square, pixels[:, :1, :1].expand(3, 16, 16))


@pytest.mark.parametrize(
    "pixels",
    [torch.zeros(4, 8, 8, dtype=torch.uint8), torch.zeros(8, 8), torch.zeros(3, 8, 8)],
)
def test_resize_and_crop_refuses_other_pixels(pixels: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"Expected \(3, height, width\) uint8"):
        resize_and_crop(pixels, image_size=8)
