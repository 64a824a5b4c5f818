"""Parity with pycocoevalcap, and values by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from phiray.evals.rouge import BETA, rouge_l

CONSTANT = "a man is standing in front of a building"


def test_rouge_l_equals_pycocoevalcap_on_each_real_image(shared_data: Path) -> None:
    data = json.loads((shared_data / "reference" / "caption_metrics.json").read_text())
    ids = [str(number) for number in data["image_ids"]]
    references = [data["references"][key] for key in ids]
    scores = rouge_l([data["hypotheses"][key] for key in ids], references)
    np.testing.assert_allclose(scores, data["scores"]["rouge_l_per_image"], rtol=0, atol=1e-9)
    constant = rouge_l([CONSTANT] * len(ids), references)
    assert constant.mean() == pytest.approx(data["constant_caption"]["rouge_l"], abs=1e-9)


def test_rouge_l_takes_best_precision_and_best_recall_of_different_references() -> None:
    # Precision 1 from the first reference (4 of 4 words), recall 1 from the second (2 of 2).
    score = rouge_l(["a b c d"], [["a b c d e f g h", "a b"]])[0]
    assert score == pytest.approx(1.0)


def test_rouge_l_weighs_recall_by_beta() -> None:
    precision, recall = 2 / 3, 2 / 5
    expected = (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    assert rouge_l(["a x b"], [["a c d b e"]])[0] == pytest.approx(expected)


@pytest.mark.parametrize(("hypothesis", "reference"), [("", "a b"), ("x", "a b"), ("a", "")])
def test_rouge_l_is_zero_without_a_common_word(hypothesis: str, reference: str) -> None:
    assert rouge_l([hypothesis], [[reference]])[0] == 0.0
