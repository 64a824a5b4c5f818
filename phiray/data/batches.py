"""Read a few rows straight into a batch, without a pipeline.

Limits: in this process, one row after another; for a run's steps see `phiray/data/pipeline.py`.
"""

import numpy as np
import numpy.typing as npt

from phiray.batch import Batch
from phiray.data.collate import collate
from phiray.data.pixels import decode_table
from phiray.data.rows import RowSource
from phiray.types import BadRow


def read_batch(
    source: RowSource,
    row_ids: npt.NDArray[np.int64],
    *,
    pad_id: int,
    image_size: int | None,
    feature_shape: tuple[int, int] | None = None,
) -> tuple[Batch, list[BadRow]]:
    """Read rows by position; one that cannot be used has weight 0, and is listed.

    Args:
        source: the data set.
        row_ids: (batch,).
        pad_id: what fills `input_ids` at the right.
        image_size: side of the images; None for text.
        feature_shape: (patches, vision_hidden) of rows that hold features in place of images.
    """
    table = source.read(row_ids)
    if image_size is not None and feature_shape is None:
        table = decode_table(table, image_size=image_size)
    return collate(table, pad_id=pad_id, image_size=image_size, feature_shape=feature_shape)
