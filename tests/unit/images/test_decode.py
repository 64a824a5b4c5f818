import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phiray.images.decode import REASONS, ImageError, check_image, decode_image, decode_pixels
from tests.image_builders import encoded_image
from tests.odd_images import BOMB_SIDE, BOMBS, BROKEN, ODD, encode, picture

STARTS = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x20\0\0\0WEBPVP8 ",
    b"GIF89a",
    b"II*\0",
)
"""How files of some formats begin."""


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_decode_pixels_of_a_jpeg_equals_pillow(mode: str, progressive: bool) -> None:
    image = Image.open(io.BytesIO(encoded_image(0, width=64, height=48))).convert(mode)
    data = encode(image, "JPEG", progressive=progressive)

    pixels = decode_pixels(data)

    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
    difference = np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 2


def decoded(name: str) -> npt.NDArray[np.int64]:
    """An odd file's pixels: (height, width, 3)."""
    return decode_pixels(ODD[name][1]()).permute(1, 2, 0).numpy().astype(np.int64)


@pytest.mark.parametrize("name", ["grey JPEG", "one-bit PNG"])
def test_decode_pixels_uses_one_channel_three_times(name: str) -> None:
    pixels = decoded(name)

    assert pixels.shape == (32, 40, 3)
    assert bool((pixels == pixels[..., :1]).all())


def test_decode_pixels_converts_cmyk_and_palettes() -> None:
    picture_pixels = np.asarray(picture(), dtype=int)

    assert np.abs(decoded("CMYK JPEG") - picture_pixels).mean() < 12  # JPEG at Pillow's quality 75
    expected = np.asarray(Image.open(io.BytesIO(ODD["palette PNG"][1]())).convert("RGB"))
    assert np.array_equal(decoded("palette PNG"), expected)


def test_decode_pixels_ignores_exif_rotation_like_open_clip() -> None:
    assert decoded("turned JPEG").shape == (32, 40, 3)


def test_decode_pixels_reads_a_png_that_is_named_jpeg() -> None:
    assert np.array_equal(decoded("PNG named jpg"), np.asarray(picture()))


def test_decode_pixels_scales_16_bit_levels() -> None:
    levels = np.array([[0, 257, 65535]], dtype=np.uint16)

    assert decode_pixels(encode(Image.fromarray(levels)))[0].tolist() == [[0, 1, 255]]
    assert decoded("16-bit grey PNG")[0, 0].tolist() == [80, 80, 80]
    assert decoded("16-bit RGB PNG")[0, 0].tolist() == [0, 1, 255]


def test_decode_pixels_lays_transparency_over_white() -> None:
    assert bool((decoded("transparent PNG") == 255).all())


@pytest.mark.parametrize("name", ["animated WebP", "animated PNG"])
def test_decode_pixels_takes_the_first_frame(name: str) -> None:
    pixels = decoded(name)

    assert pixels.shape == (16, 16, 3)
    assert np.abs(pixels - [255, 0, 0]).max() <= 4  # lossy WebP


def test_decode_image_uses_a_huge_picture() -> None:
    assert decode_image(ODD["huge JPEG"][1](), image_size=16).shape == (3, 16, 16)


def test_decode_image_gives_a_uint8_square() -> None:
    pixels = decode_image(encoded_image(3, width=37, height=51), image_size=16)

    assert pixels.shape == (3, 16, 16)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", BROKEN)
def test_decode_image_says_why_it_refuses(name: str) -> None:
    reason, build = BROKEN[name]

    with pytest.raises(ImageError, match=reason) as caught:
        decode_image(build(), image_size=16)

    assert caught.value.reason == reason
    assert reason in REASONS


PEAKS_OF_DECODING = """
import json, re, sys
from pathlib import Path
from phiray.images.decode import ImageError, check_image

def status(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))

told = []
check_image(Path(sys.argv[1]).read_bytes())
for bomb in sys.argv[2:]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = status("VmRSS")
    try:
        check_image(Path(bomb).read_bytes())
    except ImageError as error:
        told.append([error.reason, 1024 * (status("VmHWM") - before)])
print(json.dumps(told))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_bombs_cost_next_to_no_memory(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("sound", *BOMBS)]
    for file, data in zip(files, [encoded_image(0), *(b() for b in BOMBS.values())], strict=True):
        file.write_bytes(data)

    command = [sys.executable, "-W", "error", "-c", PEAKS_OF_DECODING, *map(str, files)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    assert max(file.stat().st_size for file in files) < 25_000
    assert [reason for reason, _ in told] == ["too large"] * len(BOMBS)
    assert max(num_bytes for _, num_bytes in told) < 50_000_000


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("format", ["PNG", "JPEG"])  # WebP's reader asks for 1.4 GB to say so
def test_the_bombs_are_real(format: str) -> None:
    with Image.open(io.BytesIO(BOMBS[format]())) as image:
        assert image.size == (BOMB_SIDE, BOMB_SIDE)


def outcome(data: bytes) -> str:
    """Decode; say `pixels` if there are as many as asked for, or the reason."""
    try:
        return "pixels" if decode_image(data, image_size=8).shape == (3, 8, 8) else "other pixels"
    except ImageError as error:
        return error.reason


@given(data=st.binary(max_size=300), start=st.sampled_from(STARTS))
def test_decode_image_of_anything_gives_pixels_or_a_reason(data: bytes, start: bytes) -> None:
    assert outcome(start + data) in {"pixels", *REASONS}


@settings(deadline=None, max_examples=300)
@given(
    format=st.sampled_from(["JPEG", "PNG", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=6),
    length=st.integers(0, 5000),
)
def test_decode_image_of_a_damaged_file_gives_pixels_or_a_reason(
    format: str, changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(encoded_image(7, format=format))
    for position, value in changes:
        data[position % len(data)] = value
    assert outcome(bytes(data[: max(1, length)])) in {"pixels", *REASONS}


def test_check_image_gives_height_and_width() -> None:
    assert check_image(encoded_image(0, width=33, height=21)) == (21, 33)
