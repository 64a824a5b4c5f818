"""Suite `lm`: how well a language model predicts documents it never saw, in bits per byte.

Source: rolling windows of lm-evaluation-harness (disjoint, context 1).
Limits: a document counts up to `max_document_characters`; the value depends on the length of the
windows, which is the sequence length that the checkpoint was trained with.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phiray.data.sources.records import Document
from phiray.evals.results import Sample
from phiray.evals.scoring import Candidate, score_candidates
from phiray.evals.settings import EvalSettings
from phiray.models.interface import TokenModel
from phiray.text.tokenizer import Tokenizer
from phiray.types import IGNORE_INDEX, Progress


@dataclass(frozen=True)
class ScoredDocument:
    """The part of a document that is scored."""

    key: str
    tokens: list[int]
    num_bytes: int
    """UTF-8 bytes of exactly the text that `tokens` spell."""
    text_sha256: str
    """Of that text."""


def tokenize_documents(
    documents: Sequence[Document], *, tokenizer: Tokenizer, settings: EvalSettings
) -> list[ScoredDocument]:
    """Cut each document to the length that is scored, then tokenise it; empty ones drop out."""
    scored = []
    for document in documents:
        text = document.text[: settings.max_document_characters]
        tokens = tokenizer.encode(text)
        if tokens:
            data = text.encode()
            digest = hashlib.sha256(data).hexdigest()
            scored.append(ScoredDocument(document.key, tokens, len(data), digest))
    return scored


def evaluate_documents(
    model: TokenModel,
    documents: Sequence[ScoredDocument],
    *,
    arm: str,
    sequence_length: int,
    eos_id: int,
    settings: EvalSettings,
    progress: Progress | None = None,
) -> list[Sample]:
    """Score every token of every document, the first one after EOS.

    Args:
        model: in evaluation mode.
        documents: what is scored.
        arm: name of the samples' arm.
        sequence_length: tokens of one window.
        eos_id: what stands before a document.
        settings: batch size.
        progress: told after each batch.

    Returns:
        One sample for each document.
    """
    windows, owners = [], []
    for owner, document in enumerate(documents):
        for window in _windows(document.tokens, sequence_length, eos_id):
            windows.append(window)
            owners.append(owner)
    nats = score_candidates(
        model,
        windows,
        batch_size=settings.batch_size,
        progress=progress,
        description=f"scoring {arm}",
    )
    sums = np.zeros(len(documents))
    np.add.at(sums, owners, [tokens.sum() for tokens in nats])
    return _samples(arm, documents, sums)


def evaluate_unigram(
    token_nats: NDArray[np.float64], documents: Sequence[ScoredDocument], *, arm: str
) -> list[Sample]:
    """Score the same tokens by their frequency alone.

    Args:
        token_nats: (vocab,) float64.
        documents: what is scored.
        arm: name of the samples' arm.
    """
    sums = np.array([token_nats[document.tokens].sum() for document in documents])
    return _samples(arm, documents, sums)


def _windows(tokens: Sequence[int], length: int, eos_id: int) -> Iterator[Candidate]:
    before = eos_id
    for start in range(0, len(tokens), length):
        window = tokens[start : start + length]
        yield Candidate([before, *window], [IGNORE_INDEX, *window])
        before = window[-1]


def _samples(
    arm: str, documents: Sequence[ScoredDocument], sums: NDArray[np.float64]
) -> list[Sample]:
    return [
        Sample(
            arm,
            document.key,
            document.key,
            {
                "bits_per_byte": [float(nats), float(document.num_bytes)],
                "token_perplexity": [float(nats), float(len(document.tokens))],
            },
        )
        for document, nats in zip(documents, sums, strict=True)
    ]
