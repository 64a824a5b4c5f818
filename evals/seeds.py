"""An interval for a mean over few seeds.

Source: Student's t; quantiles from its table (e.g. NIST/SEMATECH e-Handbook, 1.3.6.7.2).
Limits: 2 to 10 values, taken as normal.
"""

import math
import statistics
from collections.abc import Sequence

_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""The 97.5 % quantile for 1 .. 9 degrees of freedom."""
MAX_SEEDS = len(_T_975) + 1


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of 2 to MAX_SEEDS values."""
    half = _T_975[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half
