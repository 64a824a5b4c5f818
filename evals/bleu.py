"""Corpus BLEU with the closest reference length, as sums that add up over images.

Source: pycocoevalcap 1.2 (`bleu_scorer.py`, option `closest`); Papineni et al. 2002.
Limits: captions come tokenised. No smoothing beyond COCO's two tiny constants.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_N = 4
_TINY = 1e-15
_SMALL = 1e-9
"""COCO's guards against dividing by nothing."""

NUM_COLUMNS = 2 * MAX_N + 2


def bleu_columns(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Return what BLEU sums over images.

    Returns:
        (images, 10) float64: matching and proposed n-grams (n = 1..4), own length, closest length.
    """
    rows = [
        _row(hypothesis.split(), [caption.split() for caption in captions])
        for hypothesis, captions in zip(hypotheses, references, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(len(rows), NUM_COLUMNS)


def bleu_from_sums(sums: NDArray[np.float64], max_n: int = MAX_N) -> NDArray[np.float64]:
    """Turn summed columns into BLEU.

    Args:
        sums: (..., 10) float64, sums of `bleu_columns` over any set of images.
        max_n: longest n-gram that counts.

    Returns:
        (...) float64, 0 to 1.
    """
    matches, proposed = sums[..., :max_n], sums[..., MAX_N : MAX_N + max_n]  # (..., max_n)
    precision = ((matches + _TINY) / (proposed + _SMALL)).prod(axis=-1)  # (...)
    length_ratio = (sums[..., -2] + _TINY) / (sums[..., -1] + _SMALL)  # (...)
    brevity = np.exp(np.minimum(0.0, 1.0 - 1.0 / length_ratio))  # (...)
    result: NDArray[np.float64] = precision ** (1.0 / max_n) * brevity
    return result


def _row(hypothesis: list[str], references: list[list[str]]) -> list[int]:
    matches = []
    for n in range(1, MAX_N + 1):
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= _ngrams(reference, n)
        matches.append((_ngrams(hypothesis, n) & allowed).total())
    proposed = [max(0, len(hypothesis) - n) for n in range(MAX_N)]
    closest = min((abs(len(r) - len(hypothesis)), len(r)) for r in references)[1]
    return [*matches, *proposed, len(hypothesis), closest]


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))
