"""Make every image the square that CLIP was trained on, as uint8 pixels.

Source: open_clip `image_transform` (bicubic antialiased resize of the short side, centre crop);
the crop rounds down as transformers' CLIPImageProcessor does (torchvision rounds half to even, one
pixel away where the margin is odd, as on 640x427).
Limits: at most two grey levels (0..255) from open_clip's own Pillow resize, mean 0.004;
images longer than MAX_ASPECT times their short side are refused.
"""

import torch
from torch import Tensor
from torch.nn import functional

from phiray.errors import ShapeError

MAX_ASPECT = 50
"""Long side over short side; beyond it the resized strip alone would need gigabytes."""


def resized_shape(height: int, width: int, *, image_size: int) -> tuple[int, int]:
    """Scale the short side to `image_size`; the long side is cut to a whole number."""
    if height <= width:
        return image_size, int(image_size * width / height)
    return int(image_size * height / width), image_size


def resize_and_crop(pixels: Tensor, *, image_size: int) -> Tensor:
    """Scale the short side to `image_size` and cut out the centre square.

    Args:
        pixels: (3, height, width) uint8, 0..255.
        image_size: side of the result in pixels.

    Returns:
        (3, image_size, image_size) uint8, contiguous.

    Raises:
        ShapeError: if `pixels` is not a uint8 image of three channels.
    """
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != torch.uint8:
        raise ShapeError(
            f"pixels are {tuple(pixels.shape)} {pixels.dtype}. Expected (3, height, width) uint8. "
            "Decode with phiray.images.decode first."
        )
    height, width = resized_shape(pixels.shape[1], pixels.shape[2], image_size=image_size)
    if (height, width) != tuple(pixels.shape[1:]):
        pixels = functional.interpolate(
            pixels[None], size=(height, width), mode="bicubic", antialias=True
        )[0]  # (3, height, width)
    top, left = (height - image_size) // 2, (width - image_size) // 2
    square = pixels[:, top : top + image_size, left : left + image_size]  # (3, size, size)
    return square.contiguous()
