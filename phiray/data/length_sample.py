"""Look at the lengths of some rows before a run starts: too short a limit is found now.

Limits: a sample (`phiray/data/sampling.py` says what that means).
"""

from collections.abc import Callable

from phiray.data.sampling import choose_sample, clearly_above
from phiray.errors import DataError
from phiray.types import Progress

SAMPLE_SIZE = 2000
"""Rows looked at: well under a second of tokenising for captions and first turns."""
_ROWS_BETWEEN_TELLING = 100


def check_lengths(
    needed_length: Callable[[int], int],
    *,
    num_rows: int,
    max_length: int,
    max_bad_fraction: float,
    progress: Progress | None = None,
) -> None:
    """Measure a sample of rows, the same one each time, and stop if too many are too long.

    Args:
        needed_length: gives the tokens that a row takes at least, by its position.
        num_rows: rows of the data set.
        max_length: longest row in tokens.
        max_bad_fraction: share (0..1) of rows that may be too long.
        progress: told of the rows.

    Raises:
        DataError: with the share that does not fit, and a length that would.
    """
    chosen = choose_sample(num_rows, at_most=SAMPLE_SIZE)
    size = len(chosen)
    lengths: list[int] = []
    for row_id in chosen:
        lengths.append(needed_length(row_id))
        if progress is not None and (len(lengths) % _ROWS_BETWEEN_TELLING == 0):
            progress("measure rows", len(lengths), size)
    if progress is not None:
        progress("measure rows", size, size)
    num_long = sum(length > max_length for length in lengths)
    if clearly_above(num_long, size=size, total=num_rows, max_fraction=max_bad_fraction):
        raise DataError(
            f"data.max_length is {max_length}, but {num_long} of {size} rows that were looked at "
            f"({num_long / size:.0%}) take more tokens, image positions included. At most "
            f"data.max_bad_fraction={max_bad_fraction} may be unusable. Raise the first: "
            f"--set data.max_length={max(lengths)} holds all that were looked at."
        )
