"""Judge a data set by a sample of it, before a run starts.

Source: the rule of three standard deviations for a Poisson count.
Limits: a share slightly above the limit passes; the run itself then counts on.
"""

import math

import numpy as np


def choose_sample(total: int, *, at_most: int) -> list[int]:
    """Choose positions in [0, total), the same ones each time, in no order."""
    size = min(at_most, total)
    chosen: list[int] = np.random.default_rng(0).choice(total, size, replace=False).tolist()
    return chosen


def clearly_above(num_bad: int, *, size: int, total: int, max_fraction: float) -> bool:
    """Tell whether a sample says that more than a share of the whole is bad, beyond doubt.

    Args:
        num_bad: bad ones in the sample.
        size: of the sample.
        total: of the whole; a sample of all of it leaves no doubt.
        max_fraction: share (0..1) that may be bad.
    """
    doubt = 0.0 if size == total else 3 * math.sqrt(num_bad)
    return num_bad - doubt > max_fraction * size
