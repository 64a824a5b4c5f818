"""Grouping by length: a reordering that keeps every row, with like lengths side by side."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.grouping import STEPS_PER_SPAN, group_rows


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@settings(deadline=None)
@given(
    rows=st.lists(st.integers(0, 29), min_size=1, max_size=60),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 2**31),
)
def test_group_rows_keeps_each_entry(rows: list[int], batch_size: int, seed: int) -> None:
    order = np.array(rows, dtype=np.int64)
    lengths = np.random.default_rng(seed).integers(0, 50, 30)
    grouped = group_rows(order, lengths, batch_size=batch_size, generator=generator(seed))
    assert Counter(grouped.tolist()) == Counter(rows)
    again = group_rows(order, lengths, batch_size=batch_size, generator=generator(seed))
    np.testing.assert_array_equal(grouped, again)


def test_steps_are_cut_out_of_sorted_spans_and_the_longest_comes_first() -> None:
    lengths = np.arange(16)
    grouped = group_rows(np.arange(16), lengths, batch_size=2, generator=generator())
    # eight steps make spans of two steps: rows 0..3, 4..7, 8..11 and 12..15
    steps = grouped.reshape(8, 2).tolist()
    assert steps[0] == [15, 14]
    assert sorted(steps) == [[row + 1, row] for row in range(0, 16, 2)]
    assert steps != sorted(steps, reverse=True)


def test_spans_are_no_longer_than_their_limit() -> None:
    num_rows = 2 * 8 * STEPS_PER_SPAN
    order = np.random.default_rng(0).permutation(num_rows)
    grouped = group_rows(order, np.arange(num_rows), batch_size=2, generator=generator())
    # a quarter of the steps would be spans of twice as many
    span_of = np.empty(num_rows, dtype=np.int64)
    span_of[order] = np.arange(num_rows) // (2 * STEPS_PER_SPAN)
    spans = span_of[grouped].reshape(-1, 2)
    assert (spans[:, 0] == spans[:, 1]).all()
    assert sorted(spans[:, 0].tolist()) == sorted(list(range(8)) * STEPS_PER_SPAN)


def test_the_short_step_stays_last() -> None:
    lengths = np.arange(11)
    grouped = group_rows(np.arange(11), lengths, batch_size=4, generator=generator())
    assert grouped[8:].tolist() == [10, 9, 8]


@pytest.mark.parametrize("num_rows", [1, 3])
def test_fewer_rows_than_a_step_are_sorted(num_rows: int) -> None:
    rows = np.arange(num_rows)
    grouped = group_rows(rows, rows, batch_size=4, generator=generator())
    assert grouped.tolist() == rows[::-1].tolist()
