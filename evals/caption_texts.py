"""Scores of generated captions: CIDEr-D with a frozen idf, BLEU-4, ROUGE-L; and the best constant.

Source: COCO's caption metrics (`cider.py`, `bleu.py`, `rouge.py`).
Limits: the constant is the best of the train captions, found by an exact sum over references but
for CIDEr-D's clipping; the ten best are then scored with it.
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
from phiray.evals.tokenize_captions import tokenize_caption, tokenize_captions

_NUM_FINALISTS = 10


def caption_columns(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, idf: IdfTable
) -> list[dict[str, list[float]]]:
    """Score one raw caption per image.

    Args:
        hypotheses: one text per image, not tokenised.
        references: the captions of each image, not tokenised.
        idf: frozen, of the train split.

    Returns:
        For each image what it adds to `cider_d`, `bleu_4` and `rouge_l`.
    """
    own = tokenize_captions(hypotheses)
    gold = [tokenize_captions(captions) for captions in references]
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
    centroids = _centroids_by_length(vectors, weights)
    # The words break ties, so that the choice does not depend on the order of the images.
    ranked = sorted(vectors, key=lambda words: (-_likeness(vectors[words], centroids), words))
    finalists = ranked[:_NUM_FINALISTS]
    scores = {
        words: sum(
            weight * similarity(vectors[words], vectors[other]) for other, weight in weights.items()
        )
        for words in finalists
    }
    return raw_by_words[min(finalists, key=lambda words: (-scores[words], words))]


_Centroids = dict[int, list[dict[Ngram, float]]]


def _centroids_by_length(
    vectors: Mapping[str, Vectors], weights: Mapping[str, float]
) -> _Centroids:
    """Sum the normalised references, apart by their length, which sets the penalty."""
    centroids: _Centroids = {}
    for words, weight in weights.items():
        vector = vectors[words]
        sums = centroids.setdefault(vector.num_bigrams, [{} for _ in range(MAX_N)])
        for n in range(MAX_N):
            share = weight / vector.norms[n] if vector.norms[n] else 0.0
            for ngram, value in vector.weights[n].items():
                sums[n][ngram] = sums[n].get(ngram, 0.0) + share * value
    return centroids


def _likeness(vector: Vectors, centroids: _Centroids) -> float:
    total = 0.0
    for num_bigrams, sums in centroids.items():
        penalty = math.exp(-((vector.num_bigrams - num_bigrams) ** 2) / (2 * SIGMA**2))
        for n in range(MAX_N):
            if vector.norms[n]:
                product = sum(value * sums[n].get(g, 0.0) for g, value in vector.weights[n].items())
                total += penalty * product / vector.norms[n]
    return total
