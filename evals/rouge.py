"""ROUGE-L: the longest common subsequence of a text and its references.

Source: pycocoevalcap 1.2 (`rouge.py`): beta 1.2; the best precision and the best recall are taken
over the references independently. Lin 2004.
Limits: texts come tokenised. rouge_score and torchmetrics take the best F1 of one reference
instead, and give other numbers.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BETA = 1.2


def rouge_l(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Score one tokenised text per item against its references.

    Returns:
        (items,) float64, 0 to 1.
    """
    scores = [
        _score_one(hypothesis.split(), [text.split() for text in texts])
        for hypothesis, texts in zip(hypotheses, references, strict=True)
    ]
    return np.array(scores, dtype=np.float64)


def _score_one(hypothesis: list[str], references: list[list[str]]) -> float:
    common = [_common_length(hypothesis, reference) for reference in references]
    precision = max(common) / len(hypothesis) if hypothesis else 0.0
    recall = max(
        length / len(reference) if reference else 0.0
        for length, reference in zip(common, references, strict=True)
    )
    if precision == 0.0 or recall == 0.0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(first: list[str], second: list[str]) -> int:
    lengths = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for column, other in enumerate(second, start=1):
            above = lengths[column]
            lengths[column] = diagonal + 1 if word == other else max(above, lengths[column - 1])
            diagonal = above
    return lengths[-1]
