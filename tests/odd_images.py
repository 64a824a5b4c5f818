"""Image files of every kind that real folders hold: odd ones that can be used, and broken ones."""

import base64
import io
import itertools
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from phiray.images.paths import MAX_BYTES
from tests.image_builders import encoded_image

BOMB_SIDE = 13_000
_ORIENTATION_TAG = 0x0112
_QUARTER_TURN = 6
_WEBP_BOMB = base64.b64decode("UklGRhoAAABXRUJQVlA4TA4AAAAvx/KxDAcQEf0PRET/Aw==")
"""Written by Pillow from a black picture of BOMB_SIDE x BOMB_SIDE pixels, lossless."""


def encode(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(width: int = 40, height: int = 32) -> Image.Image:
    """An RGB picture; the same each time."""
    return Image.open(io.BytesIO(encoded_image(5, width=width, height=height, format="PNG")))


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by its parts; `rows` are compressed bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_bomb() -> bytes:
    """About 20 kB that unpack to 13,000 x 13,000 pixels, all of them there."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + -(-BOMB_SIDE // 8))  # one bit a pixel
    rows = b"".join(compressor.compress(row) for _ in range(BOMB_SIDE)) + compressor.flush()
    return png(BOMB_SIDE, BOMB_SIDE, depth=1, colour=0, rows=rows)


def jpeg_bomb() -> bytes:
    """A whole small JPEG whose frame claims 13,000 x 13,000 pixels.

    A whole one of that size takes 300 kB at least: a bit for each block of 8 x 8 pixels.
    """
    data = bytearray(encoded_image(0))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", BOMB_SIDE, BOMB_SIDE)
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG": png_bomb,
    "JPEG": jpeg_bomb,
    "WebP": lambda: _WEBP_BOMB,
}


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION_TAG] = _QUARTER_TURN
    return encode(picture(), "JPEG", exif=exif)


def _deep_rgb() -> bytes:
    rows = zlib.compress(b"".join(b"\0" + struct.pack(">3H", 0, 257, 65535) * 8 for _ in range(8)))
    return png(8, 8, depth=16, colour=2, rows=rows)


def _animated(format: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    return encode(frames[0], format, save_all=True, append_images=frames[1:])


ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "grey JPEG": ("grayscale", lambda: encode(picture().convert("L"), "JPEG")),
    "one-bit PNG": ("grayscale", lambda: encode(picture().convert("1"))),
    "CMYK JPEG": ("CMYK", lambda: encode(picture().convert("CMYK"), "JPEG")),
    "palette PNG": ("palette", lambda: encode(picture().convert("P"))),
    "16-bit grey PNG": (
        "16-bit",
        lambda: encode(Image.fromarray(np.full((8, 8), 257 * 80, dtype=np.uint16))),
    ),
    "16-bit RGB PNG": ("16-bit", _deep_rgb),
    "transparent PNG": (
        "transparent",
        lambda: encode(Image.new("RGBA", (16, 16), (200, 0, 0, 0))),
    ),
    "animated WebP": ("animated", lambda: _animated("WEBP")),
    "animated PNG": ("animated", lambda: _animated("PNG")),
    "turned JPEG": ("EXIF-rotated", _rotated),
    "huge JPEG": ("huge", lambda: encode(Image.new("L", (5000, 4000)), "JPEG")),
    "PNG named jpg": ("wrong extension", lambda: encode(picture())),
}
"""Name to the kind that `oddities_of` tells, and the bytes."""


def _flipped_png() -> bytes:
    data = bytearray(encoded_image(2, width=64, height=64, format="PNG"))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


OVER_THE_LIMIT = "file over the limit"
BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty file": ("empty", lambda: b""),
    "JPEG cut in the middle": ("truncated image", lambda: encoded_image(1)[:500]),
    "JPEG without its last bytes": ("truncated image", lambda: encoded_image(1)[:-10]),
    "PNG cut in the middle": ("truncated image", lambda: encoded_image(1, format="PNG")[:150]),
    "WebP cut in the middle": ("truncated image", lambda: encoded_image(1, format="WEBP")[:60]),
    "PNG with a flipped byte": ("broken image", _flipped_png),
    "web page saved as jpg": ("web page", lambda: b"<!DOCTYPE html><html>404 Not Found</html>"),
    "Git LFS pointer": (
        "Git LFS pointer",
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    ),
    "GIF named jpg": ("not an image", lambda: encoded_image(1, format="GIF")),
    "noise": ("not an image", lambda: np.random.default_rng(0).bytes(4000)),
    "bomb": ("too large", png_bomb),
    OVER_THE_LIMIT: ("too large", lambda: b"\xff\xd8" + bytes(MAX_BYTES)),
    "strip": ("extreme shape", lambda: encoded_image(1, width=102, height=2)),
}
"""Name to the reason that is counted, and the bytes."""
DANGLING = ("missing image", "link to nothing")
"""A kind of broken file that has no bytes at all."""


def write_broken(path: Path, name: str) -> str:
    """Put a broken file in the place of a sound one; return the reason that training counts."""
    path.unlink()
    if name == DANGLING[1]:
        path.symlink_to(path.with_name("nothing.jpg"))
        return DANGLING[0]
    reason, build = BROKEN[name]
    if name == OVER_THE_LIMIT:
        with path.open("wb") as file:
            file.truncate(MAX_BYTES + 1)  # takes no room on the disk
    else:
        path.write_bytes(build())
    return reason


def break_images(paths: Sequence[Path]) -> list[str]:
    """Break each file in another way, in turn; return the reasons."""
    kinds = itertools.cycle([*BROKEN, DANGLING[1]])
    return [write_broken(path, kind) for path, kind in zip(paths, kinds, strict=False)]
