"""Parity with pycocoevalcap, and values by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from phiray.evals.bleu import bleu_columns, bleu_from_sums

CONSTANT = "a man is standing in front of a building"


@pytest.mark.parametrize("max_n", [1, 2, 3, 4])
def test_bleu_equals_pycocoevalcap_on_real_captions(shared_data: Path, max_n: int) -> None:
    data = json.loads((shared_data / "reference" / "caption_metrics.json").read_text())
    references = list(data["references"].values())
    sums = bleu_columns(list(data["hypotheses"].values()), references).sum(axis=0)
    constant = bleu_columns([CONSTANT] * len(references), references).sum(axis=0)
    name = f"bleu_{max_n}"
    assert float(bleu_from_sums(sums, max_n)) == pytest.approx(data["scores"][name], abs=1e-9)
    assert float(bleu_from_sums(constant, max_n)) == pytest.approx(
        data["constant_caption"][name], abs=1e-9
    )


def test_bleu_columns_clip_repeated_words() -> None:
    row = bleu_columns(["the the the"], [["the cat", "a the the dog here"]])[0]
    assert row.tolist() == [2, 1, 0, 0, 3, 2, 1, 0, 3, 2]


def test_bleu_of_a_copy_is_one() -> None:
    text = "a cat sits on the mat"
    assert float(bleu_from_sums(bleu_columns([text], [[text]])[0])) == pytest.approx(1.0, abs=1e-8)


def test_bleu_of_a_short_caption_is_cut_by_the_brevity_penalty() -> None:
    sums = bleu_columns(["a b"], [["a b c d"]])[0]
    assert float(bleu_from_sums(sums, 1)) == pytest.approx(np.exp(1 - 4 / 2), rel=1e-6)


def test_bleu_from_sums_works_on_many_draws_at_once() -> None:
    columns = bleu_columns(["a b c d e", "x y z w v"], [["a b c d f"], ["x y z w v"]])
    both = bleu_from_sums(np.stack([columns[0], columns.sum(axis=0)]))
    assert both.shape == (2,)
    assert both[1] == float(bleu_from_sums(columns.sum(axis=0)))
