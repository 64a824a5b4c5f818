"""Name what is odd about a picture that can be used, and what training does with it.

Source: Pillow reads headers; the EXIF orientation is tag 0x0112.
Limits: looks at headers alone. What cannot be used is `phiray/images/decode.py`'s to say.
"""

import io
import warnings

from PIL import Image

from phiray.images.decode import FORMATS
from phiray.images.headers import PNG_START

ODDITIES: dict[str, str] = {
    "grayscale": "the one channel is used three times",
    "CMYK": "converted to RGB",
    "palette": "converted to RGB",
    "16-bit": "scaled to 8 bits",
    "transparent": "laid over white",
    "animated": "the first frame is used",
    "EXIF-rotated": "used as stored, as in open_clip: it may lie on its side",
    "huge": "used, but slow to decode",
    "wrong extension": "its bytes decide, not its name",
}
"""Each kind, and what happens to it in training."""

HUGE_PIXELS = 16_000_000
"""COCO's longest pictures have 0.4 million; over it a picture takes a tenth of a second."""
_ORIENTATION_TAG = 0x0112
_UPRIGHT = (0, 1)
_PNG_DEPTH = 24
"""Place of the bits per channel in a PNG."""
_SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",), "MPO": (".jpg",)}
_PALETTE_MODES = ("P", "PA")
_GREY_MODES = ("1", "L", "LA")


def oddities_of(data: bytes, *, suffix: str) -> list[str]:
    """List what is odd about a file that can be decoded.

    Args:
        data: its bytes; `decode_pixels` took them.
        suffix: of its name, with the point.

    Returns:
        Keys of ODDITIES, in their order.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own EXIF reader, on odd tags
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            found = {
                "grayscale": image.mode in _GREY_MODES,
                "CMYK": image.mode == "CMYK",
                "palette": image.mode in _PALETTE_MODES,
                "16-bit": image.mode.startswith("I") or _is_deep_png(data),
                "transparent": "A" in image.getbands() or "transparency" in image.info,
                "animated": bool(getattr(image, "is_animated", False)) and image.format != "MPO",
                "EXIF-rotated": _orientation(image) not in _UPRIGHT,
                "huge": image.width * image.height > HUGE_PIXELS,
                "wrong extension": suffix.lower() not in _SUFFIXES[str(image.format)],
            }
    return [kind for kind in ODDITIES if found[kind]]


def _is_deep_png(data: bytes) -> bool:
    return data.startswith(PNG_START) and data[_PNG_DEPTH] == 16


def _orientation(image: Image.Image) -> int:
    """Read the EXIF orientation; 1 where there is none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, OverflowError):
        return 1
