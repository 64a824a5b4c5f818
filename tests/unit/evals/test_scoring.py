"""Likelihoods do not depend on batches, and are those of one token at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from phiray.config.model import MoeConfig, PhiConfig
from phiray.evals.scoring import (
    Candidate,
    batch_nats,
    build_batch,
    device_of,
    score_candidates,
    split_answers,
    split_end,
)
from phiray.models.build import build_language_model
from phiray.models.interface import TokenModel
from phiray.types import IGNORE_INDEX
from tests.unit.evals.toys import UniformModel

VOCAB = 40
LONGEST = 16


@pytest.fixture(scope="module")
def phi() -> TokenModel:
    config = PhiConfig(
        vocab_size=VOCAB,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        partial_rotary_factor=0.5,
        initializer_range=0.3,
        moe=MoeConfig(num_experts=4, num_experts_per_token=2, intermediate_size=8),
    )
    return build_language_model(config, kind="phi", seed=3).eval()


def _candidates() -> list[Candidate]:
    generator = np.random.default_rng(0)
    found = []
    for length in (3, 9, 5, 12, 7, 2):
        tokens = generator.integers(0, VOCAB, length).tolist()
        found.append(Candidate(tokens, [IGNORE_INDEX, *tokens[1:]]))
    return found


def test_score_candidates_does_not_depend_on_the_batch_size(phi: TokenModel) -> None:
    alone = score_candidates(phi, _candidates(), batch_size=1)
    together = score_candidates(phi, _candidates(), batch_size=6)
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)


def test_score_candidates_equals_one_token_at_a_time(phi: TokenModel) -> None:
    candidate = _candidates()[3]
    tokens = torch.tensor([list(candidate.input_ids)])
    expected = []
    for end in range(1, tokens.shape[1]):
        with torch.no_grad():
            hidden = phi.decode(phi.embed(tokens[:, :end])).hidden_states[:, -1]
            logits = phi.project(hidden).float()
        expected.append(-logits.log_softmax(-1)[0, tokens[0, end]].item())
    nats = score_candidates(phi, [candidate], batch_size=1)[0]
    np.testing.assert_allclose(nats, expected, rtol=0, atol=1e-5)


def test_score_candidates_takes_rows_one_token_longer_than_the_model_sees(phi: TokenModel) -> None:
    tokens = list(range(LONGEST + 1))
    candidate = Candidate(tokens, [IGNORE_INDEX, *tokens[1:]])
    assert len(score_candidates(phi, [candidate], batch_size=1)[0]) == LONGEST


def test_score_candidates_scores_labels_only() -> None:
    candidate = Candidate([1, 2, 3, 4], [IGNORE_INDEX, IGNORE_INDEX, 3, 4])
    nats = score_candidates(UniformModel(300), [candidate], batch_size=4)[0]
    np.testing.assert_allclose(nats, [math.log(256)] * 2, rtol=1e-6)
    assert nats.dtype == np.float64


def test_score_candidates_masks_by_length_when_padding_looks_like_text() -> None:
    # The padding id 0 is also a text token: it must count in the second row only.
    short = Candidate([5, 6], [IGNORE_INDEX, 6])
    long = Candidate([5, 0, 0, 0], [IGNORE_INDEX, 0, 0, 0])
    nats = score_candidates(UniformModel(300), [short, long], batch_size=2)
    assert [len(tokens) for tokens in nats] == [1, 3]


def test_score_candidates_tells_progress() -> None:
    told: list[tuple[str, int, int]] = []
    score_candidates(
        UniformModel(300),
        _candidates(),
        batch_size=4,
        progress=lambda *what: told.append(what),
        description="x",
    )
    assert told == [("x", 4, 6), ("x", 6, 6)]


def test_batch_nats_leaves_no_gradient(phi: TokenModel) -> None:
    batch = build_batch(_candidates(), device=torch.device("cpu"))
    assert not batch_nats(phi, batch).requires_grad


def test_build_batch_pads_at_the_right_and_stacks_pictures() -> None:
    pixels = np.full((3, 2, 2), 7, dtype=np.uint8)
    rows = [Candidate([1], [1], pixels), Candidate([1, 2], [1, 2], pixels)]
    batch = build_batch(rows, device=torch.device("cpu"))
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert batch["labels"].tolist() == [[1, IGNORE_INDEX], [1, 2]]
    assert batch["pixel_values"].shape == (2, 3, 2, 2)
    assert batch["pixel_values"].dtype == torch.uint8


def test_device_of_a_model_without_weights_is_the_cpu(phi: TokenModel) -> None:
    assert device_of(UniformModel(300)) == torch.device("cpu")
    assert isinstance(phi, nn.Module)
    assert device_of(phi) == next(phi.parameters()).device


def test_split_end_takes_the_last_token_apart() -> None:
    nats = split_end(np.array([1.0, 2.0, 4.0]))
    assert (nats.text, nats.num_tokens, nats.eos) == (3.0, 2, 4.0)


def test_split_answers_cuts_where_labels_stop() -> None:
    labels = [IGNORE_INDEX, 5, 6, IGNORE_INDEX, IGNORE_INDEX, 7]
    parts = split_answers(labels, np.array([1.0, 2.0, 3.0]))
    assert [part.tolist() for part in parts] == [[1.0, 2.0], [3.0]]
