import pytest

from phiray.evals.seeds import MAX_SEEDS, t_interval


def test_t_interval_of_three_values_by_hand() -> None:
    # mean 2, standard deviation 1, t(2) = 4.303: half width 4.303 / sqrt(3)
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - 2.48434, 2 + 2.48434), abs=1e-4)


def test_t_interval_takes_as_many_seeds_as_it_says() -> None:
    low, high = t_interval([float(value) for value in range(MAX_SEEDS)])
    assert low < 4.5 < high
