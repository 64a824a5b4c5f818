import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from phiray.images.decode import ImageError, check_image, decode_image, decode_pixels, jpeg_shape
from tests.image_builders import encoded_image


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_decode_pixels_of_a_jpeg_equals_pillow(mode: str, progressive: bool) -> None:
    image = Image.open(io.BytesIO(encoded_image(0, width=64, height=48))).convert(mode)
    data = encode(image, "JPEG", progressive=progressive)

    pixels = decode_pixels(data)

    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
    difference = np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 2


def test_decode_pixels_ignores_exif_rotation_like_open_clip() -> None:
    image = Image.open(io.BytesIO(encoded_image(0, width=40, height=20)))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees

    assert decode_pixels(encode(image, "JPEG", exif=exif)).shape == (3, 20, 40)


def test_decode_pixels_reads_a_png_that_is_named_jpeg() -> None:
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))

    assert np.array_equal(decode_pixels(encode(image)).permute(1, 2, 0), np.asarray(image))


def test_decode_pixels_scales_16_bit_grey() -> None:
    levels = np.array([[0, 257, 65535]], dtype=np.uint16)

    assert decode_pixels(encode(Image.fromarray(levels)))[0].tolist() == [[0, 1, 255]]


def test_decode_pixels_lays_transparency_over_white() -> None:
    image = Image.new("RGBA", (2, 2), (200, 0, 0, 0))

    assert bool((decode_pixels(encode(image)) == 255).all())


def test_decode_image_gives_a_uint8_square() -> None:
    pixels = decode_image(encoded_image(3, width=37, height=51), image_size=16)

    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>404 Not Found</html>", "not an image"),
        (encoded_image(0)[:300], "broken image"),
        (encoded_image(0, format="PNG")[:120], "broken image"),
        (encoded_image(0, format="GIF"), "not an image"),
        (png_header(13_000, 13_000), "too large"),
        (png_header(40_000, 40_000), "too large"),
        (b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 60_000, 60_000) * 9, "too large"),
        (b"\0" * 50_000_001, "too large"),
        (encoded_image(0, width=102, height=2), "extreme shape"),
    ],
)
def test_decode_image_says_why_it_refuses(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        decode_image(data, image_size=16)

    assert caught.value.reason == reason


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_shape_reads_what_pillow_reads(progressive: bool) -> None:
    image = Image.open(io.BytesIO(encoded_image(0, width=33, height=21)))
    thumbnail = Image.Exif()
    thumbnail[0x010E] = "x" * 5000
    data = encode(image, "JPEG", progressive=progressive, exif=thumbnail)

    assert jpeg_shape(data) == (21, 33)


def test_jpeg_shape_leaves_other_files_to_pillow() -> None:
    assert jpeg_shape(encoded_image(0, format="PNG")) is None
    assert jpeg_shape(b"\xff\xd8\xff") is None


def test_check_image_gives_height_and_width() -> None:
    assert check_image(encoded_image(0, width=33, height=21)) == (21, 33)
