"""Each metric's value from sums worked out by hand."""

import math

import numpy as np
import pytest

from phiray.evals.metrics import METRICS

EXPECTED = {
    "bits_per_byte",
    "token_perplexity",
    "eos_nats",
    "caption_nats",
    "visual_gain_shuffled_nats",
    "visual_gain_blank_nats",
    "swap_accuracy",
    "cider_d",
    "bleu_4",
    "rouge_l",
    "answer_nats",
    "exact_match",
}


def test_metrics_are_declared_once_with_a_meaning() -> None:
    assert set(METRICS) == EXPECTED
    assert all(kind.name == name and kind.meaning for name, kind in METRICS.items())


def test_bits_per_byte_of_a_uniform_guess_over_bytes_is_eight() -> None:
    sums = np.array([10 * math.log(256), 10.0])
    assert float(METRICS["bits_per_byte"].combine(sums)) == pytest.approx(8.0, abs=1e-12)


def test_token_perplexity_of_a_uniform_guess_is_the_size_of_the_vocabulary() -> None:
    sums = np.array([[7 * math.log(50.0), 7.0], [3 * math.log(2.0), 3.0]])
    values = METRICS["token_perplexity"].combine(sums)
    np.testing.assert_allclose(values, [50.0, 2.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "higher"),
    [("bits_per_byte", False), ("answer_nats", False), ("cider_d", True), ("swap_accuracy", True)],
)
def test_metrics_know_which_direction_is_better(name: str, higher: bool) -> None:
    assert METRICS[name].higher_is_better is higher
