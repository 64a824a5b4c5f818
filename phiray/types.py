"""The few plain types that cross layers, without torch: data tasks load only what they need.

Limits: no behaviour lives here; tensors are in `batch.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

IGNORE_INDEX = -100
"""A label with this id is never learnt and never counted."""

MAX_LOGITS = 2**23
"""Logits that one call of the head makes at most: 32 MiB in fp32. A tiny model's whole batch fits,
and 163 rows of Phi-2's 51,200. On two CPU cores, 1,016 rows of those take 0.7 to 1.1 s so, and 1.0
to 1.3 s with 2**25."""

FILLER_ROW = -1
"""The row id of a row that only fills up a batch: its weight is 0, it is no row of the data."""

Progress = Callable[[str, int, int], None]
"""Told of long work: what it is, how much is done, how much there is."""


@dataclass(frozen=True)
class BadRow:
    """A row of the data that could not be used; it is counted and listed, never replaced."""

    row_id: int
    reason: str
    """One word or two, the same for all rows of a kind: the key that is counted."""
    detail: str
    """What was found, for the quarantine file."""
