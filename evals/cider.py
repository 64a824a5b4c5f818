"""CIDEr-D: how much a caption agrees with its references, weighted by how telling each n-gram is.

Source: Vedantam et al. 2015 (arXiv 1411.5726) in the form of pycocoevalcap 1.2.
Limits: captions come tokenised. Values are raw, 0 to 10; papers print them times 100. The "length"
in the length penalty is the number of bigrams, as in COCO's code.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_N = 4
SIGMA = 6.0
"""Width of the length penalty, in bigrams (COCO)."""
SCALE = 10.0

Ngram = tuple[str, ...]


@dataclass(frozen=True)
class IdfTable:
    """How telling each n-gram is: ln(images) - ln(images with it in any of their captions)."""

    weights: Mapping[Ngram, float]
    num_images: int
    unseen: float
    """Weight of an n-gram that no image has; it counts as if one had."""

    def weight(self, ngram: Ngram) -> float:
        """Return the weight of an n-gram."""
        return self.weights.get(ngram, self.unseen)


@dataclass(frozen=True)
class Vectors:
    """A caption as weighted n-grams."""

    weights: list[dict[Ngram, float]]
    """One per n-gram length."""
    norms: list[float]
    num_bigrams: int


def idf_from_references(references: Sequence[Sequence[str]]) -> IdfTable:
    """Count in how many images each n-gram occurs.

    Args:
        references: for each image, its tokenised captions.
    """
    counts: Counter[Ngram] = Counter()
    for captions in references:
        counts.update({ngram for caption in captions for ngram in _count_ngrams(caption)})
    total = math.log(max(1, len(references)))
    weights = {ngram: total - math.log(count) for ngram, count in counts.items()}
    return IdfTable(weights, len(references), unseen=total)


def cider_d(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], *, idf: IdfTable
) -> NDArray[np.float64]:
    """Score one tokenised caption per image; the corpus score is the mean.

    Args:
        hypotheses: one caption per image.
        references: the captions of each image.
        idf: counted on the evaluated images (COCO's way) or frozen from another corpus.

    Returns:
        (images,) float64, 0 to 10.
    """
    captions = {*hypotheses, *(caption for group in references for caption in group)}
    vectors = {caption: vectors_from_caption(caption, idf) for caption in captions}
    scores = [
        _score_one(vectors[hypothesis], [vectors[caption] for caption in group])
        for hypothesis, group in zip(hypotheses, references, strict=True)
    ]
    return np.array(scores, dtype=np.float64)


def _count_ngrams(caption: str) -> Counter[Ngram]:
    words = caption.split()
    return Counter(
        tuple(words[start : start + n])
        for n in range(1, MAX_N + 1)
        for start in range(len(words) - n + 1)
    )


def vectors_from_caption(caption: str, idf: IdfTable) -> Vectors:
    """Weigh the n-grams of a tokenised caption."""
    weights: list[dict[Ngram, float]] = [{} for _ in range(MAX_N)]
    num_bigrams = 0
    for ngram, count in _count_ngrams(caption).items():
        weights[len(ngram) - 1][ngram] = count * idf.weight(ngram)
        if len(ngram) == 2:
            num_bigrams += count
    norms = [math.sqrt(sum(value * value for value in vector.values())) for vector in weights]
    return Vectors(weights, norms, num_bigrams)


def _score_one(hypothesis: Vectors, references: Sequence[Vectors]) -> float:
    similarities = [similarity(hypothesis, reference) for reference in references]
    return SCALE * sum(similarities) / len(similarities)


def similarity(hypothesis: Vectors, reference: Vectors) -> float:
    """Return the clipped cosine of two captions, mean over n, with the length penalty; 0 to 1."""
    penalty = math.exp(-((hypothesis.num_bigrams - reference.num_bigrams) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for n in range(MAX_N):
        length = hypothesis.norms[n] * reference.norms[n]
        if length:
            product = sum(
                min(value, reference.weights[n].get(ngram, 0.0)) * reference.weights[n][ngram]
                for ngram, value in hypothesis.weights[n].items()
                if ngram in reference.weights[n]
            )
            total += product / length
    return penalty * total / MAX_N
