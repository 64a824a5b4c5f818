"""Scores of generated captions: CIDEr-D with a frozen idf, BLEU-4, ROUGE-L; and the best constant.

Source: COCO's caption metrics (`cider.py`, `bleu.py`, `rouge.py`).
Limits: the constant is exactly the best of the given captions; it is found by bounds, so that few
of them are scored in full.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from phiray.evals.bleu import bleu_columns
from phiray.evals.cider import (
    MAX_N,
    SIGMA,
    IdfTable,
    Ngram,
    Vectors,
    cider_d,
    similarity,
    vectors_from_caption,
)
from phiray.evals.rouge import rouge_l
from phiray.evals.tokenize_captions import tokenize_caption

_ROUNDING_ROOM = 1 + 1e-9
"""Keeps a bound above the score that it bounds when both are rounded."""


def caption_columns(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, idf: IdfTable
) -> list[dict[str, list[float]]]:
    """Score one raw caption per image.

    Args:
        hypotheses: one text per image, not tokenised; several arms may follow one another.
        references: the captions of the same images, not tokenised.
        idf: frozen, of the train split.

    Returns:
        For each image what it adds to `cider_d`, `bleu_4` and `rouge_l`.
    """
    texts = {*hypotheses, *(caption for captions in references for caption in captions)}
    words = {text: tokenize_caption(text) for text in texts}  # each once, whatever says it
    own = [words[text] for text in hypotheses]
    gold = [[words[caption] for caption in captions] for captions in references]
    return [
        {"cider_d": [float(cider), 1.0], "bleu_4": bleu.tolist(), "rouge_l": [float(rouge), 1.0]}
        for cider, bleu, rouge in zip(
            cider_d(own, gold, idf=idf), bleu_columns(own, gold), rouge_l(own, gold), strict=True
        )
    ]


def best_constant_caption(references: Sequence[Sequence[str]], *, idf: IdfTable) -> str:
    """Return the caption that scores best by CIDEr-D when said of every image.

    Args:
        references: the raw captions of each train image; candidates and references alike.
        idf: of the train split.
    """
    raw_by_words: dict[str, str] = {}
    weights: dict[str, float] = defaultdict(float)
    for captions in references:
        for caption in captions:
            words = tokenize_caption(caption)
            raw_by_words.setdefault(words, caption.strip())
            weights[words] += 1.0 / len(captions)
    vectors = {words: vectors_from_caption(words, idf) for words in weights}
    bounds = _bounds(vectors, weights)
    # The words break ties, so that the choice does not depend on the order of the images.
    best, best_score = "", -1.0
    for words in sorted(vectors, key=lambda words: (-bounds[words], words)):
        if bounds[words] < best_score:
            break
        score = sum(
            weight * similarity(vectors[words], vectors[other]) for other, weight in weights.items()
        )
        if score > best_score:
            best, best_score = words, score
    return raw_by_words[best]


def _bounds(vectors: Mapping[str, Vectors], weights: Mapping[str, float]) -> dict[str, float]:
    """Return what each caption scores without clipping, which only ever lowers a score."""
    centroids = _centroids_by_length(vectors, weights)
    blurred = {
        num_bigrams: _blur(centroids, num_bigrams)
        for num_bigrams in {vector.num_bigrams for vector in vectors.values()}
    }
    return {words: _likeness(v, blurred[v.num_bigrams]) for words, v in vectors.items()}


_Sums = list[dict[Ngram, float]]
"""For each n-gram length a sum over captions of their normalised weights."""


def _centroids_by_length(
    vectors: Mapping[str, Vectors], weights: Mapping[str, float]
) -> dict[int, _Sums]:
    """Sum the normalised references, apart by their length, which sets the penalty."""
    centroids: dict[int, _Sums] = {}
    for words, weight in weights.items():
        vector = vectors[words]
        sums = centroids.setdefault(vector.num_bigrams, [{} for _ in range(MAX_N)])
        for n in range(MAX_N):
            share = weight / vector.norms[n] if vector.norms[n] else 0.0
            _add(sums[n], vector.weights[n], share)
    return centroids


def _blur(centroids: Mapping[int, _Sums], num_bigrams: int) -> _Sums:
    """Add up the centroids of all lengths, each with its penalty for a caption of this length."""
    sums: _Sums = [{} for _ in range(MAX_N)]
    for other, centroid in sorted(centroids.items()):
        penalty = math.exp(-((num_bigrams - other) ** 2) / (2 * SIGMA**2))
        for n in range(MAX_N):
            _add(sums[n], centroid[n], penalty)
    return sums


def _add(sums: dict[Ngram, float], values: Mapping[Ngram, float], factor: float) -> None:
    for ngram, value in values.items():
        sums[ngram] = sums.get(ngram, 0.0) + factor * value


def _likeness(vector: Vectors, sums: _Sums) -> float:
    products = [
        sum(value * sums[n].get(ngram, 0.0) for ngram, value in vector.weights[n].items())
        / vector.norms[n]
        for n in range(MAX_N)
        if vector.norms[n]
    ]
    return sum(products) / MAX_N * _ROUNDING_ROOM
