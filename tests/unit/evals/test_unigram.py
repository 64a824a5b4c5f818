"""Add-one smoothing, by hand."""

import math

import numpy as np

from phiray.evals.unigram import count_tokens, unigram_nats


def test_count_tokens_adds_chunks_and_leaves_eos_out() -> None:
    chunks = [np.array([0, 1, 1], dtype=np.uint16), np.array([1, 3], dtype=np.uint16)]
    assert count_tokens(chunks, vocab_size=5, eos_id=3).tolist() == [1, 3, 0, 0, 0]


def test_unigram_nats_smooths_by_one_and_sums_to_one() -> None:
    nats = unigram_nats(np.array([1, 3, 0, 0]))
    np.testing.assert_allclose(nats[:2], [-math.log(2 / 8), -math.log(4 / 8)])
    assert abs(np.exp(-nats).sum() - 1.0) < 1e-12
