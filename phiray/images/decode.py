"""Turn the bytes of an image file into the pixels that CLIP sees, or say why not.

Source: torchvision.io (libjpeg-turbo) is twice as fast as open_clip's Pillow path; Pillow takes
what it refuses. Like open_clip, the EXIF orientation is ignored.
Limits: JPEG, PNG and WebP, first frame, at most MAX_PIXELS and MAX_BYTES; a JPEG with inverted
bytes inside decodes to wrong pixels without an error, as in every decoder tried.
"""

import io
from contextlib import suppress

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode

from phiray.errors import DataError
from phiray.images.headers import (
    JPEG_START,
    LFS_HEAD,
    PNG_START,
    jpeg_shape,
    shape_from_header,
)
from phiray.images.paths import MAX_BYTES
from phiray.images.transform import MAX_ASPECT, resize_and_crop

MAX_PIXELS = 50_000_000
"""Largest area: a 20 kB PNG of 13,000 x 13,000 pixels costs 1.8 GB when unpacked."""
FORMATS = ("JPEG", "PNG", "WEBP")
"""Formats that Pillow may try; others (EPS, TIFF) start helpers or hide bombs."""
REASONS = (
    "empty",
    "too large",
    "Git LFS pointer",
    "web page",
    "not an image",
    "extreme shape",
    "truncated image",
    "broken image",
)
"""Why a file is no picture, as it is counted."""
JPEG_END = b"\xff\xd9"
_TAIL = 4096
"""Bytes at a file's end among which its end marker stands; some cameras add a few behind it."""
_TEXT_HEAD = 512
_WEB_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
WIDE_TO_BYTE = 257
"""A 16-bit grey level over this is its 8-bit level; `convert` would clip it to white."""


class ImageError(DataError):
    """An image that cannot be used; `reason` is the key that is counted."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep reason and detail apart, for the quarantine file."""
        super().__init__(
            f"The image is unusable ({reason}): {detail.rstrip('.')}. Replace or remove the file."
        )
        self.reason = reason
        self.detail = detail


def decode_image(data: bytes, *, image_size: int) -> np.ndarray:
    """Decode, scale and crop one image.

    Args:
        data: the file's bytes.
        image_size: side of the result in pixels.

    Returns:
        (3, image_size, image_size) uint8, not normalised.

    Raises:
        ImageError: with one of `REASONS`.
    """
    return resize_and_crop(decode_pixels(data), image_size=image_size).numpy()


def decode_pixels(data: bytes) -> Tensor:
    """Decode one image at its own size: (3, height, width) uint8 in RGB."""
    _check_bytes(data)
    shape = shape_from_header(data)
    if shape is not None:
        _check_shape(*shape)
    if jpeg_shape(data) is not None:
        with suppress(RuntimeError, AttributeError):  # Pillow tries the rest, and explains
            return _decode_jpeg(data)
    with _open(data) as image:
        _check_shape(image.height, image.width)
        try:
            rgb = _rgb_from_image(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise _broken(data, error) from error
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)  # (3, height, width)


def _decode_jpeg(data: bytes) -> Tensor:
    """Call libjpeg-turbo through torchvision's operator.

    Its Python function warns of its deprecation at every call since 0.29; once the operator is gone
    too, the AttributeError leaves every JPEG to Pillow.
    """
    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # (bytes,)
    pixels: Tensor = torch.ops.image.decode_jpeg(buffer, ImageReadMode.RGB.value, False)  # noqa: FBT003
    return pixels  # (3, height, width)


def check_image(data: bytes) -> tuple[int, int]:
    """Decode an image fully and give its (height, width).

    Raises:
        ImageError: as `decode_image`.
    """
    pixels = decode_pixels(data)
    return pixels.shape[1], pixels.shape[2]


def _check_bytes(data: bytes) -> None:
    if not data:
        raise ImageError("empty", "the file has 0 bytes")
    if len(data) > MAX_BYTES:
        raise ImageError("too large", f"{len(data)} bytes, at most {MAX_BYTES} are read")


def _check_shape(height: int, width: int) -> None:
    """Refuse, by its header, what would be dangerous to unpack or to resize."""
    if width * height > MAX_PIXELS:
        raise ImageError("too large", f"{width}x{height} pixels, at most {MAX_PIXELS} are read")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError("extreme shape", f"{width}x{height} pixels, ratio above {MAX_ASPECT}")


def _open(data: bytes) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("too large", str(error)) from error
    except UnidentifiedImageError as error:
        raise _no_image(data) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _broken(data, error) from error


def _no_image(data: bytes) -> ImageError:
    """Tell the two usual ways in which a download leaves something else under the name."""
    if data.startswith(LFS_HEAD):
        return ImageError("Git LFS pointer", "it holds the address of the picture, not the picture")
    start = data[:_TEXT_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(_WEB_PAGE_STARTS):
        return ImageError("web page", f"it starts with {start[:24]!r}")
    return ImageError("not an image", f"it starts with {data[:12]!r}")


def _broken(data: bytes, error: Exception) -> ImageError:
    """Tell a file that was cut off from one that is damaged inside."""
    tail = data[-_TAIL:]
    if data.startswith(JPEG_START):
        is_cut = JPEG_END not in tail
    elif data.startswith(PNG_START):
        is_cut = b"IEND" not in tail
    else:
        is_cut = len(data) < int.from_bytes(data[4:8], "little") + 8  # WebP's RIFF header
    return ImageError("truncated image" if is_cut else "broken image", str(error))


def _rgb_from_image(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: 16-bit grey is scaled, transparency lies over white."""
    if image.mode.startswith("I"):
        levels = np.array(image, dtype=np.int64) // WIDE_TO_BYTE  # (height, width)
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")
