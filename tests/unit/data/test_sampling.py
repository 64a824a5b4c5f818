import pytest

from phiray.data.sampling import choose_sample, clearly_above


def test_a_sample_is_the_same_each_time_and_has_each_position_once() -> None:
    first = choose_sample(1000, at_most=50)
    assert first == choose_sample(1000, at_most=50)
    assert len(set(first)) == len(first) == 50
    assert all(0 <= position < 1000 for position in first)


def test_a_small_set_is_looked_at_whole() -> None:
    assert sorted(choose_sample(7, at_most=50)) == list(range(7))


@pytest.mark.parametrize(
    ("num_bad", "total", "expected"),
    [
        (3, 100, True),  # all of it was looked at: 3 % is above 2 %
        (2, 100, False),
        (3, 10_000, False),  # a sample: 3 may come of 2 % by chance
        (12, 10_000, False),  # 12 - 3 * sqrt(12) = 1.6
        (14, 10_000, True),  # 14 - 3 * sqrt(14) = 2.8
    ],
)
def test_doubt_is_left_only_by_a_part(num_bad: int, total: int, expected: bool) -> None:
    assert clearly_above(num_bad, size=100, total=total, max_fraction=0.02) is expected
