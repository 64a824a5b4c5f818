"""Read a picture's size from the first bytes of its file, before anything is unpacked.

Source: ITU T.81 (JPEG frame header), PNG specification (IHDR), RFC 9649 (WebP container).
Limits: JPEG, PNG and WebP. A decoder that is handed a 20 kB file may ask for gigabytes only to read
its header (libwebp's does), so sizes are judged here.
"""

import struct

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
LFS_HEAD = b"version https://git-lfs"
"""A Git LFS pointer: the address of a file where the file itself should be."""
_MARKER = 0xFF
_FRAME_CODES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers SOF0..SOF15, which hold the size (ITU T.81, table B.1)."""
_FRAME_BYTES = 9
"""From a frame marker to the end of its width."""
_PNG_SIZE = slice(16, 24)
"""Width and height in IHDR, which must be the first chunk."""
_WEBP_BYTES = 30
"""Up to the end of the size, in each of WebP's three forms."""

Shape = tuple[int, int]
"""Height and width."""


def shape_from_header(data: bytes) -> Shape | None:
    """Read (height, width) of a JPEG, PNG or WebP; None where the header does not tell."""
    return jpeg_shape(data) or _png_shape(data) or _webp_shape(data)


def jpeg_shape(data: bytes) -> Shape | None:
    """Read (height, width) from a JPEG's frame header, at a twentieth of Pillow's cost.

    Returns None where the markers are not the plain chain that cameras write: Pillow judges those.
    """
    if not data.startswith(JPEG_START):
        return None
    position = len(JPEG_START)
    while position + _FRAME_BYTES <= len(data) and data[position] == _MARKER:
        code = data[position + 1]
        if code in _FRAME_CODES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return (height, width) if height and width else None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _png_shape(data: bytes) -> Shape | None:
    if not data.startswith(PNG_START) or len(data) < _PNG_SIZE.stop:
        return None
    width, height = struct.unpack(">II", data[_PNG_SIZE])
    return height, width


def _webp_shape(data: bytes) -> Shape | None:
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < _WEBP_BYTES:
        return None
    kind, body = data[12:16], data[20:_WEBP_BYTES]
    if kind == b"VP8X":  # 24 bits each, less one
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
        return height, width
    if kind == b"VP8L":  # 14 bits each, less one
        bits = int.from_bytes(body[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":  # 14 bits each, above them a scale that decoders ignore
        width, height = struct.unpack_from("<HH", body, 6)
        return height & 0x3FFF, width & 0x3FFF
    return None
