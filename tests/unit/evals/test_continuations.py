"""Texts after one prompt cost what they cost in whole rows."""

import numpy as np
import pytest

from phiray.errors import ShapeError
from phiray.evals.continuations import score_continuations
from phiray.evals.generation import prompt_candidate
from phiray.evals.scoring import Candidate, score_candidates
from phiray.types import IGNORE_INDEX
from tests.model_builders import IMAGE_ID, NUM_PATCHES, moe_config, tiny_vlm
from tests.unit.evals.toys import UniformModel

PROMPT = [IMAGE_ID] * NUM_PATCHES


def _pixels(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (3, 8, 8)).astype(np.uint8) for _ in range(count)]


def test_score_continuations_equals_scoring_whole_rows_with_a_mixture_of_experts() -> None:
    model = tiny_vlm(moe=moe_config()).eval()
    generator = np.random.default_rng(1)
    texts = [
        [generator.integers(0, IMAGE_ID, length).tolist() for length in lengths]
        for lengths in ((3, 9, 1), (5,), (7, 2))
    ]
    pixels = _pixels(3)
    prompts = [prompt_candidate(PROMPT, image) for image in pixels]
    together = score_continuations(model, prompts, texts, batch_size=2)
    for image, group, scored in zip(pixels, texts, together, strict=True):
        rows = [
            Candidate([*PROMPT, *text], [*[IGNORE_INDEX] * len(PROMPT), *text], image)
            for text in group
        ]
        for own, whole in zip(scored, score_candidates(model, rows, batch_size=1), strict=True):
            np.testing.assert_allclose(own, whole, rtol=0, atol=1e-5)


def test_score_continuations_scores_the_same_text_alike_in_any_place() -> None:
    model = tiny_vlm().eval()
    prompts = [prompt_candidate(PROMPT, image) for image in _pixels(1)]
    first, _, last = score_continuations(
        model, prompts, [[[4, 5, 6], [1, 2], [4, 5, 6]]], batch_size=1
    )[0]
    assert first.tolist() == last.tolist()


def test_score_continuations_tells_progress() -> None:
    told: list[tuple[str, int, int]] = []
    prompts = [prompt_candidate([1, 2])] * 3
    score_continuations(
        UniformModel(300),
        prompts,
        [[[1], [2, 3]], [[4]], [[5]]],
        batch_size=2,
        progress=lambda *what: told.append(what),
        description="x",
    )
    assert told == [("x", 2, 4), ("x", 3, 4), ("x", 4, 4)]


def test_score_continuations_refuses_prompts_of_different_length() -> None:
    prompts = [prompt_candidate([1, 2]), prompt_candidate([1])]
    with pytest.raises(ShapeError, match="Prompts are 1 to 2 tokens long"):
        score_continuations(UniformModel(300), prompts, [[[1]], [[1]]], batch_size=2)
