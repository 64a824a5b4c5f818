"""Put the rows of a micro-batch end to end into few sequences, so that little of them is padding.

Source: first-fit decreasing (Johnson 1973; at most 11/9 of the fewest sequences, and one).
Limits: rows of one micro-batch only, so that a step has the rows that it has without packing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from phiray.config.data import padded_length

_TRIES = 32
"""Widths that are tried, from the longest row's to `_WIDEST` times that, in about a millisecond:
rows of more than half a sequence leave the rest of it empty, so the narrowest is seldom the best.
"""
_WIDEST = 4
"""On 560 real conversations of 102 to 147 tokens, 19 % padding became 6 % with 2, 3 % with 4 and
2 % with 8; attention costs the square of a sequence."""
NO_POSITION = -1
"""Stands where a packed sequence holds padding."""


def pack_rows(lengths: Sequence[int], *, max_length: int) -> list[list[int]]:
    """Choose the rows of each sequence, for the width at which they take the fewest positions.

    It takes no more of them than one sequence for each row, all as long as the longest.

    Args:
        lengths: of the rows in tokens; an empty row gets no place.
        max_length: longest sequence in tokens; no row is longer.

    Returns:
        The row numbers of each sequence, in the order in which they stand there.
    """
    longest = max(lengths, default=0)
    if longest == 0:
        return [[]]
    widest = min(max_length, _WIDEST * longest)
    widths = np.linspace(longest, widest, _TRIES, dtype=np.int64).tolist()
    widths = dict.fromkeys(min(widest, padded_length(width)) for width in widths)
    plans = [_first_fit(lengths, capacity=width) for width in widths]
    # the first of equals is the narrowest
    return min(plans, key=lambda plan: len(plan) * padded_length(_width(plan, lengths)))


def packed_index(lengths: Sequence[int], *, seq: int, max_length: int) -> npt.NDArray[np.int64]:
    """Say what stands at each position of the packed sequences.

    Args:
        lengths: of the rows in tokens.
        seq: positions of a row in its own batch.
        max_length: longest sequence in tokens.

    Returns:
        (sequences, packed seq) int64: row * seq + position in the row, or NO_POSITION.
    """
    plan = pack_rows(lengths, max_length=max_length)
    width = padded_length(max(_width(plan, lengths), 1))
    index = np.full((len(plan), width), NO_POSITION, dtype=np.int64)
    for number, rows in enumerate(plan):
        start = 0
        for row in rows:
            end = start + lengths[row]
            index[number, start:end] = row * seq + np.arange(lengths[row])
            start = end
    return index


def _first_fit(lengths: Sequence[int], *, capacity: int) -> list[list[int]]:
    """Put each row, the longest first, into the first sequence that has room for it."""
    plan: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        length = lengths[row]
        if length == 0:
            break
        place = next((number for number, left in enumerate(room) if left >= length), len(plan))
        if place == len(plan):
            plan.append([])
            room.append(capacity)
        plan[place].append(row)
        room[place] -= length
    return plan


def _width(plan: list[list[int]], lengths: Sequence[int]) -> int:
    return max(sum(lengths[row] for row in rows) for rows in plan)
