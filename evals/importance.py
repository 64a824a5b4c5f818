"""How much of the difference between trials goes with each setting, taken alone.

Source: correlation ratio (eta squared; Fisher 1925) for choices, Spearman's squared rank
correlation for numbers that were drawn.
Limits: a first look at a handful of trials: it sees no interplay, and a share of a small sample is
never zero by itself.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

MIN_TRIALS = 4
"""With fewer, any two settings explain all."""


def explained_fraction(
    settings: Sequence[JsonValue], values: Sequence[float], *, is_drawn: bool
) -> float:
    """Return the share (0..1) of the values' variance that goes with a setting.

    Args:
        settings: the setting in each trial.
        values: what each trial measured at the same step.
        is_drawn: the setting is a number drawn from a range, not one of a few choices.
    """
    found = np.asarray(values, dtype=np.float64)  # (trials,)
    total = float(((found - found.mean()) ** 2).sum())
    if total == 0:
        return 0.0
    if is_drawn:
        numbers = np.array([float(str(setting)) for setting in settings])  # (trials,)
        return float(np.corrcoef(_ranks(numbers), _ranks(found))[0, 1] ** 2)
    groups: dict[str, list[float]] = {}
    for setting, value in zip(settings, values, strict=True):
        groups.setdefault(str(setting), []).append(value)
    between = sum(len(g) * (np.mean(g) - found.mean()) ** 2 for g in groups.values())
    return float(between / total)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank values from 0; equal ones share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    means: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]  # (trials,)
    return means
