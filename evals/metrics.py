"""The metrics: what each is, its unit, which direction is better, how its sums become a value.

Source: definitions of bits per byte and CIDEr-D as in lm-evaluation-harness and pycocoevalcap.
Limits: every metric is a function of sums over samples, so that one bootstrap serves them all.
"""

import math
from dataclasses import dataclass

import numpy as np

from phiray.evals.bleu import NUM_COLUMNS, bleu_from_sums
from phiray.evals.bootstrap import Combine, Floats


@dataclass(frozen=True)
class MetricKind:
    """One metric, declared once."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    num_columns: int
    """Numbers that each sample contributes."""
    combine: Combine
    """(..., columns) sums -> (...) values."""
    meaning: str
    """One sentence for the report."""


def ratio(sums: Floats) -> Floats:
    """Divide the first column by the second.

    Args:
        sums: (..., 2) float64.

    Returns:
        (...) float64.
    """
    result: Floats = sums[..., 0] / sums[..., 1]
    return result


def _bits_per_byte(sums: Floats) -> Floats:
    return ratio(sums) / math.log(2)


def _perplexity(sums: Floats) -> Floats:
    result: Floats = np.exp(ratio(sums))
    return result


_KINDS = (
    MetricKind(
        "bits_per_byte",
        "Bits per byte",
        "bits/byte",
        higher_is_better=False,
        num_columns=2,
        combine=_bits_per_byte,
        meaning="Surprise per UTF-8 byte of the scored text, without EOS; needs no tokenizer to "
        "be compared.",
    ),
    MetricKind(
        "token_perplexity",
        "Perplexity",
        "per token",
        higher_is_better=False,
        num_columns=2,
        combine=_perplexity,
        meaning="exp of the mean surprise per token, without EOS; depends on the tokenizer.",
    ),
    MetricKind(
        "eos_nats",
        "End surprise",
        "nats",
        higher_is_better=False,
        num_columns=2,
        combine=ratio,
        meaning="Mean surprise at the end-of-text token: a model that cannot stop shows here.",
    ),
    MetricKind(
        "caption_nats",
        "Caption surprise",
        "nats/caption",
        higher_is_better=False,
        num_columns=2,
        combine=ratio,
        meaning="Mean over captions of the surprise of all their tokens, EOS included.",
    ),
    MetricKind(
        "visual_gain_shuffled_nats",
        "Gain over shuffled",
        "nats/caption",
        higher_is_better=True,
        num_columns=2,
        combine=ratio,
        meaning="Visual gain: how much likelier a caption is with its own image than with "
        "another one; above 0 only if the model uses the image.",
    ),
    MetricKind(
        "visual_gain_blank_nats",
        "Gain over blank",
        "nats/caption",
        higher_is_better=True,
        num_columns=2,
        combine=ratio,
        meaning="The same against the mean-pixel image, which the model never saw in training.",
    ),
    MetricKind(
        "swap_accuracy",
        "Swap accuracy",
        "fraction",
        higher_is_better=True,
        num_columns=2,
        combine=ratio,
        meaning="Share of captions that are likelier with their own image than with another; "
        "chance is 0.5, ties count half.",
    ),
    MetricKind(
        "cider_d",
        "CIDEr-D",
        "0..10",
        higher_is_better=True,
        num_columns=2,
        combine=ratio,
        meaning="Agreement with the references, telling words weighing more; idf frozen from the "
        "captions of the train split. Papers print it times 100.",
    ),
    MetricKind(
        "bleu_4",
        "BLEU-4",
        "fraction",
        higher_is_better=True,
        num_columns=NUM_COLUMNS,
        combine=bleu_from_sums,
        meaning="Corpus BLEU up to 4-grams, closest reference length.",
    ),
    MetricKind(
        "rouge_l",
        "ROUGE-L",
        "fraction",
        higher_is_better=True,
        num_columns=2,
        combine=ratio,
        meaning="Longest common subsequence with the references (COCO's form, beta 1.2).",
    ),
    MetricKind(
        "answer_nats",
        "Answer surprise",
        "nats/answer",
        higher_is_better=False,
        num_columns=2,
        combine=ratio,
        meaning="Mean over answers of the surprise of all their tokens, EOS included.",
    ),
    MetricKind(
        "exact_match",
        "Exact match",
        "fraction",
        higher_is_better=True,
        num_columns=2,
        combine=ratio,
        meaning="Share of generated answers equal to the reference after VQA normalisation; "
        "asked only where the reference has at most 3 words.",
    ),
)

METRICS: dict[str, MetricKind] = {kind.name: kind for kind in _KINDS}
"""In the order in which reports show them."""
