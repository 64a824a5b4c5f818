"""Greedy answers to many prompts, those of equal length together.

Source: the models' `generate_greedy`, which takes rows of one length.
Limits: greedy only; a text that does not end is cut at `max_new_tokens`, or where the model has no
more positions; what it said until then is the answer, and is what the suites score.
"""

from collections.abc import Sequence

from phiray.evals.scoring import Candidate, Pixels, build_batch, device_of
from phiray.models.generation import generate_greedy
from phiray.models.interface import TokenModel
from phiray.text.tokenizer import Tokenizer
from phiray.types import IGNORE_INDEX, Progress


def generate_texts(
    model: TokenModel,
    prompts: Sequence[Candidate],
    *,
    tokenizer: Tokenizer,
    batch_size: int,
    max_new_tokens: int,
    progress: Progress | None = None,
    description: str = "generating",
) -> list[str]:
    """Continue each prompt up to EOS.

    Args:
        model: in evaluation mode.
        prompts: rows of any length, all with an image or all without.
        tokenizer: turns ids back into text.
        batch_size: rows at once.
        max_new_tokens: longest continuation; shorter if the model has no more positions.
        progress: told after each batch.
        description: what `progress` is told.

    Returns:
        The stripped texts, in the order of the prompts.

    Raises:
        DataError: if a prompt alone is longer than the model's positions.
    """
    texts = [""] * len(prompts)
    num_done = 0
    for chosen in _batches_of_equal_length(prompts, batch_size):
        batch = build_batch([prompts[index] for index in chosen], device=device_of(model))
        rows = generate_greedy(model, batch, max_new_tokens=max_new_tokens, eos_id=tokenizer.eos_id)
        for index, tokens in zip(chosen, rows, strict=True):
            texts[index] = tokenizer.decode(tokens).strip()
        num_done += len(chosen)
        if progress:
            progress(description, num_done, len(prompts))
    return texts


def prompt_candidate(input_ids: Sequence[int], pixels: Pixels | None = None) -> Candidate:
    """Make a prompt: a row without labels."""
    return Candidate(input_ids, [IGNORE_INDEX] * len(input_ids), pixels)


def _batches_of_equal_length(prompts: Sequence[Candidate], batch_size: int) -> list[list[int]]:
    by_length: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt.input_ids), []).append(index)
    return [
        indices[start : start + batch_size]
        for _, indices in sorted(by_length.items())
        for start in range(0, len(indices), batch_size)
    ]
