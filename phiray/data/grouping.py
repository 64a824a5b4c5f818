"""Put rows of like length into the same steps, so that batches hold less padding.

Source: `LengthGroupedSampler` of transformers (`group_by_length`): rows are shuffled, cut into
spans of at most 50 steps, and sorted within each; here the steps are then shuffled as well, so that
lengths do not run from long to short over and over.
Limits: lengths may be estimates; a step's rows are no longer a free draw from all lengths.
"""

import numpy as np
import numpy.typing as npt

STEPS_PER_SPAN = 50
"""Most steps whose rows are sorted together; few rows make it a quarter of an epoch's steps."""
_LEAST_SPANS = 4


def group_rows(
    order: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    *,
    batch_size: int,
    generator: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Reorder an epoch: each entry stays in it as often as it was.

    The step with the longest row comes first: if memory is short, it is so at once.

    Args:
        order: (rows,) shuffled row ids.
        lengths: (rows of the data set,).
        batch_size: rows of a step; the last step may be short, and stays last.
        generator: shuffles the steps.

    Returns:
        (rows,) int64.
    """
    num_steps = len(order) // batch_size
    span = batch_size * max(1, min(STEPS_PER_SPAN, num_steps // _LEAST_SPANS))
    spans = [order[start : start + span] for start in range(0, len(order), span)]
    grouped = np.concatenate([rows[np.argsort(-lengths[rows], kind="stable")] for rows in spans])
    if num_steps == 0:
        return grouped
    rest = grouped[num_steps * batch_size :]  # (rows of the short step,)
    steps = grouped[: num_steps * batch_size].reshape(num_steps, batch_size)  # (steps, batch)
    steps = steps[generator.permutation(num_steps)]
    longest = int(lengths[steps].max(axis=1).argmax())
    steps[[0, longest]] = steps[[longest, 0]]
    return np.concatenate([steps.reshape(-1), rest])
