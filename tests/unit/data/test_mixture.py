"""What an epoch takes from each source, and how it is told."""

import numpy as np
import pytest

from phiray.data.mixture import RowRange, describe_mixture, mixture_of_files, rows_of_epoch
from phiray.errors import ConfigError


@pytest.mark.parametrize(
    ("num_rows", "weight", "expected"),
    [(10, 1.0, 10), (10, 2.0, 20), (10, 0.5, 5), (10, 1.25, 12), (3, 0.1, 1), (7, 2.999, 21)],
)
def test_rows_per_epoch_is_the_weighed_number_in_whole_rows(
    num_rows: int, weight: float, expected: int
) -> None:
    part = RowRange("a", 0, num_rows, weight)
    assert part.rows_per_epoch == expected
    for epoch in range(3):
        assert len(rows_of_epoch([part], seed=5, epoch=epoch)) == expected


def test_half_a_weight_takes_one_half_and_then_the_other() -> None:
    part = RowRange("a", 100, 10, 0.5)
    halves = [rows_of_epoch([part], seed=5, epoch=epoch).tolist() for epoch in range(3)]
    assert len(set(halves[0])) == 5
    assert sorted(halves[0] + halves[1]) == list(range(100, 110))
    assert halves[2] == halves[0]
    assert halves[0] != rows_of_epoch([part], seed=6, epoch=0).tolist()


def test_sources_stand_one_after_the_other() -> None:
    ranges = [RowRange("a", 0, 2, 2.0), RowRange("b", 2, 3)]
    np.testing.assert_array_equal(rows_of_epoch(ranges, seed=0, epoch=0), [0, 1, 0, 1, 2, 3, 4])


def test_files_are_sources_by_their_names() -> None:
    ranges = {"redpajama/a_b.jsonl": range(4), "redpajama/c.jsonl": range(4, 4), "d": range(4, 9)}
    assert mixture_of_files(ranges, {"d": 2.0}) == (
        RowRange("a_b", 0, 4, 1.0),
        RowRange("d", 4, 5, 2.0),
    )
    assert mixture_of_files({"": range(3)}, {}) == (RowRange("text", 0, 3),)
    with pytest.raises(ConfigError, match=r"names 'c', of which there are no rows .* a_b, d: "):
        mixture_of_files(ranges, {"c": 2.0})


def test_describe_mixture_names_the_largest_of_many_sources() -> None:
    ranges = [RowRange(f"s{index}", 10 * index, 10 + index) for index in range(20)]
    lines = describe_mixture(ranges)
    assert lines[0] == "an epoch takes 390 rows from 20 sources"
    assert lines[1].startswith("  s19 ")
    assert lines[-1] == "  and 8 smaller sources"


def test_describe_mixture_gives_the_shares_of_sources() -> None:
    ranges = [
        RowRange("a", 0, 2000, 0.5),
        RowRange("bc", 2000, 500),
        RowRange("a", 2500, 1000, 0.5),
    ]
    assert describe_mixture(ranges) == [
        "an epoch takes 2,000 rows from 2 sources",
        "  a        3,000 rows x 0.5   =      1,500   75.0%",
        "  bc         500 rows x 1     =        500   25.0%",
    ]
    assert describe_mixture(ranges[:1]) == []
    assert describe_mixture([ranges[0], ranges[2]]) == []
