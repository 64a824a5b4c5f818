"""Bits per byte that are known beforehand, and every token scored once."""

import math

import numpy as np
import pytest

from phiray.data.sources.records import Document
from phiray.evals.aggregate import aggregate_samples
from phiray.evals.lm import (
    ScoredDocument,
    evaluate_documents,
    evaluate_unigram,
    tokenize_documents,
)
from phiray.evals.settings import EvalSettings
from phiray.evals.unigram import unigram_nats
from tests.unit.evals.toys import UniformModel, byte_tokenizer

SETTINGS = EvalSettings(batch_size=3, max_document_characters=50)
DOCUMENTS = [
    Document("book:1", "Caf\u00e9 au lait, " * 3, "a", 0),
    Document("book:2", "x" * 400, "b", 0),
    Document("book:3", "", "c", 0),
]


@pytest.fixture
def scored() -> list[ScoredDocument]:
    return tokenize_documents(DOCUMENTS, tokenizer=byte_tokenizer(), settings=SETTINGS)


def test_tokenize_documents_cuts_long_ones_and_drops_empty_ones(
    scored: list[ScoredDocument],
) -> None:
    assert [(document.key, document.num_bytes) for document in scored] == [
        ("book:1", 45),
        ("book:2", 50),
    ]
    assert all(len(document.tokens) == document.num_bytes for document in scored)


@pytest.mark.parametrize("sequence_length", [1, 7, 64])
def test_evaluate_documents_gives_eight_bits_per_byte_for_a_uniform_model(
    scored: list[ScoredDocument], sequence_length: int
) -> None:
    tokenizer = byte_tokenizer()
    model = UniformModel(tokenizer.vocab_size)
    samples = evaluate_documents(
        model,
        scored,
        arm="run@gutenberg",
        sequence_length=sequence_length,
        eos_id=tokenizer.eos_id,
        settings=SETTINGS,
    )
    metrics = aggregate_samples(samples, seed=0)["run@gutenberg"]
    assert metrics["bits_per_byte"].value == pytest.approx(8.0, rel=1e-6)
    assert metrics["bits_per_byte"].n == 2
    assert metrics["token_perplexity"].value == pytest.approx(256.0, rel=1e-5)
    assert model.longest <= sequence_length


def test_evaluate_documents_scores_each_token_once(scored: list[ScoredDocument]) -> None:
    samples = evaluate_documents(
        UniformModel(300),
        scored,
        arm="run",
        sequence_length=7,
        eos_id=256,
        settings=SETTINGS,
    )
    for sample, document in zip(samples, scored, strict=True):
        nats, tokens = sample.columns["token_perplexity"]
        assert tokens == len(document.tokens)
        assert nats == pytest.approx(len(document.tokens) * math.log(256), rel=1e-6)
        assert sample.cluster == document.key


def test_evaluate_unigram_scores_the_same_tokens(scored: list[ScoredDocument]) -> None:
    counts = np.bincount(scored[0].tokens, minlength=259)
    samples = evaluate_unigram(unigram_nats(counts), scored, arm="unigram")
    known, unknown = (sample.columns["token_perplexity"] for sample in samples)
    assert [known[1], unknown[1]] == [45.0, 50.0]
    assert unknown[0] == pytest.approx(50 * math.log(45 + 259))
    assert known[0] < unknown[0]
