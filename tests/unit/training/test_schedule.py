import pytest

from phiray.config.training import TrainingConfig
from phiray.training.schedule import learning_rate_at

TRAINING = TrainingConfig(
    max_steps=15, warmup_steps=4, learning_rate=0.1, min_learning_rate_fraction=0.2
)


def test_learning_rate_at_warms_up_in_equal_parts() -> None:
    rates = [learning_rate_at(TRAINING, step) for step in range(5)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1])


def test_learning_rate_at_ends_at_the_least_rate() -> None:
    assert learning_rate_at(TRAINING, 14) == pytest.approx(0.02)


def test_learning_rate_at_the_middle_of_the_cosine_is_the_mean() -> None:
    assert learning_rate_at(TRAINING, 9) == pytest.approx(0.06)


def test_learning_rate_at_falls_after_the_warm_up() -> None:
    rates = [learning_rate_at(TRAINING, step) for step in range(4, 15)]
    assert rates == sorted(rates, reverse=True)


def test_learning_rate_at_of_a_single_step_is_the_full_rate() -> None:
    training = TrainingConfig(max_steps=1, warmup_steps=0, learning_rate=0.1)
    assert learning_rate_at(training, 0) == 0.1
