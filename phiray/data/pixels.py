"""Replace the encoded images of a table by pixels; a row that fails keeps its place and a reason.

Source: DESIGN 6: both decode paths (beside the trainer, in Ray tasks) call this one function, so
they give the same rows.
Limits: all images of a table get one size; 3 * size * size bytes an image.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.images.decode import ImageError, decode_image

NUM_CHANNELS = 3


def decode_table(table: pa.Table, *, image_size: int) -> pa.Table:
    """Decode the column `image` of a table of ROW_SCHEMA.

    Args:
        table: rows with encoded images, as `RowSource.read` gives them.
        image_size: side of the pixels.

    Returns:
        The same rows; `image` holds 3 * image_size * image_size raw bytes, or null. A row whose
        image failed has `error` and `detail` set.
    """
    errors: list[str | None] = table["error"].to_pylist()
    details: list[str | None] = table["detail"].to_pylist()
    decoded: list[npt.NDArray[np.uint8] | None] = []
    for index, scalar in enumerate(table["image"]):
        data: bytes | None = scalar.as_py()
        pixels = None
        if data is not None and errors[index] is None:
            try:
                pixels = decode_image(data, image_size=image_size)
            except ImageError as error:
                errors[index], details[index] = error.reason, error.detail
        decoded.append(pixels)
    columns = {
        "image": _binary_column(decoded),
        "error": pa.array(errors, type=pa.string()),
        "detail": pa.array(details, type=pa.string()),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def pixels_from_table(table: pa.Table, *, image_size: int) -> npt.NDArray[np.uint8]:
    """Stack the pixels of the rows that have any, in row order.

    Returns:
        (images, 3, image_size, image_size) uint8; no images give a first dimension of 0.
    """
    shape = (-1, NUM_CHANNELS, image_size, image_size)
    rows = [
        np.frombuffer(scalar.as_buffer(), dtype=np.uint8)
        for scalar in table["image"]
        if scalar.is_valid
    ]
    if not rows:
        return np.empty((0, *shape[1:]), dtype=np.uint8)
    return np.concatenate(rows).reshape(shape)  # (images, 3, size, size)


def _binary_column(rows: list[npt.NDArray[np.uint8] | None]) -> pa.Array:
    """Build a large_binary column with one copy of the pixels; None gives null."""
    present = [row.reshape(-1) for row in rows if row is not None]
    values = np.concatenate(present) if present else np.empty(0, dtype=np.uint8)  # (bytes,)
    lengths = [0 if row is None else row.size for row in rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)  # (rows + 1,)
    valid = pa.array([row is not None for row in rows], type=pa.bool_())
    return pa.Array.from_buffers(
        pa.large_binary(),
        len(rows),
        [valid.buffers()[1], pa.py_buffer(offsets), pa.py_buffer(values)],
    )
