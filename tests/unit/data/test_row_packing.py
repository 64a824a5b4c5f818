"""Rows end to end: each once, none cut, and never more positions than without."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.config.data import padded_length
from phiray.data.row_packing import NO_POSITION, pack_rows, packed_index

LENGTHS = st.lists(st.integers(0, 60), min_size=1, max_size=30)


@settings(deadline=None)
@given(lengths=LENGTHS, room=st.integers(0, 100))
def test_pack_rows_gives_each_row_one_place(lengths: list[int], room: int) -> None:
    max_length = max(1, *lengths) + room
    plan = pack_rows(lengths, max_length=max_length)
    placed = sorted(row for rows in plan for row in rows)
    assert placed == [row for row, length in enumerate(lengths) if length]
    assert all(sum(lengths[row] for row in rows) <= max_length for rows in plan)


@settings(deadline=None)
@given(lengths=LENGTHS, room=st.integers(0, 100))
def test_packing_never_takes_more_positions(lengths: list[int], room: int) -> None:
    longest = max(1, *lengths)
    index = packed_index(lengths, seq=padded_length(longest), max_length=longest + room)
    assert index.size <= len(lengths) * padded_length(longest)


@settings(deadline=None)
@given(lengths=LENGTHS)
def test_packed_index_names_every_position_once_and_in_order(lengths: list[int]) -> None:
    seq = padded_length(max(1, *lengths))
    index = packed_index(lengths, seq=seq, max_length=2 * seq)
    wanted = [row * seq + place for row, length in enumerate(lengths) for place in range(length)]
    assert sorted(index[index != NO_POSITION].tolist()) == wanted
    for sequence in index:
        real = sequence[sequence != NO_POSITION]
        assert (sequence[: len(real)] == real).all()  # padding stands at the end
        starts = np.flatnonzero(real % seq == 0)
        for row in np.split(real, starts[1:]):
            assert (np.diff(row) == 1).all()


@pytest.mark.parametrize(
    ("lengths", "max_length", "expected"),
    [
        ([8, 8, 8, 8], 32, [[0], [1], [2], [3]]),  # nothing to save: the narrowest
        ([16, 3, 5, 8], 16, [[0], [3, 2, 1]]),
        ([16, 8], 16, [[0], [1]]),
        ([16, 8], 24, [[0, 1]]),  # 24 positions, and not 32
        ([0, 0], 8, [[]]),
    ],
)
def test_pack_rows_takes_the_fewest_positions(
    lengths: list[int], max_length: int, expected: list[list[int]]
) -> None:
    assert pack_rows(lengths, max_length=max_length) == expected
