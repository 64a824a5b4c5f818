import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phiray.images.headers import jpeg_shape, shape_from_header
from tests.image_builders import encoded_image
from tests.odd_images import BOMB_SIDE, BOMBS, encode, picture


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


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"x"}),
    ],
)
def test_shape_from_header_reads_each_form(format: str, options: dict[str, object]) -> None:
    assert shape_from_header(encode(picture(33, 21), format, **options)) == (21, 33)


def test_shape_from_header_reads_an_animation() -> None:
    frames = [Image.new("RGB", (33, 21), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:])

    assert shape_from_header(data) == (21, 33)


@pytest.mark.parametrize("build", BOMBS.values())
def test_shape_from_header_sees_a_bomb(build: object) -> None:
    assert callable(build)
    assert shape_from_header(build()) == (BOMB_SIDE, BOMB_SIDE)


@given(
    data=st.binary(max_size=60), start=st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"])
)
def test_shape_from_header_of_anything_is_a_shape_or_none(data: bytes, start: bytes) -> None:
    shape = shape_from_header(start + data)
    assert shape is None or all(side >= 0 for side in shape)
