"""The steps of a run without Ray; `tests/ray/test_pipeline.py` shows that they are the same."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from phiray.batch import StepInput
from phiray.data.collate import collate_step
from phiray.data.pixels import decode_table
from phiray.data.prefetch import prefetch_in_order
from phiray.data.rows import RowSource


def read_steps(
    source: RowSource,
    positions: npt.NDArray[np.int64],
    *,
    pad_id: int,
    image_size: int | None,
    feature_shape: tuple[int, int] | None = None,
    num_threads: int = 2,
    max_packed_length: int | None = None,
) -> Iterator[StepInput]:
    """Read, decode and collate one step after the other, a few steps ahead of the consumer.

    Args:
        source: the data set.
        positions: (steps, accumulation, micro) int64 row ids, as `rank_positions` gives them.
        pad_id: what fills `input_ids` at the right.
        image_size: side of the images; None for text.
        feature_shape: (patches, vision_hidden) of rows that hold features of a cache.
        num_threads: steps prepared at the same time.
        max_packed_length: run rows end to end in sequences of at most so many tokens.
    """

    def read_step(step_rows: npt.NDArray[np.int64]) -> StepInput:
        table = source.read(step_rows.reshape(-1))
        if image_size is not None and feature_shape is None:
            table = decode_table(table, image_size=image_size)
        return collate_step(
            table,
            accumulation=len(step_rows),
            pad_id=pad_id,
            image_size=image_size,
            max_packed_length=max_packed_length,
            feature_shape=feature_shape,
        )

    return prefetch_in_order(read_step, iter(positions), num_threads=num_threads)
