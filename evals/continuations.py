"""How surprised a model is by several texts after one prompt, running the prompt once.

Source: a key/value cache of the prompt, copied for each text; equal to scoring whole rows, since a
causal model's prompt does not see what follows.
Limits: the model must have a cache, and all prompts one length. With 576 patches and captions of a
dozen tokens this is 40 times less work than whole rows; the copy doubles the cache's memory.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from phiray.errors import ShapeError
from phiray.evals.scoring import Candidate, build_batch, device_of
from phiray.losses import token_nats
from phiray.models.cache import KeyValueCache
from phiray.models.interface import TokenModel
from phiray.types import IGNORE_INDEX, Progress

Nats = NDArray[np.float64]


@dataclass(frozen=True)
class _Prompts:
    """A batch of prompts that the model has run."""

    cache: KeyValueCache
    last: Tensor
    """(batch, 1, hidden): the state that predicts the first token of a text."""


def score_continuations(
    model: TokenModel,
    prompts: Sequence[Candidate],
    texts: Sequence[Sequence[Sequence[int]]],
    *,
    batch_size: int,
    progress: Progress | None = None,
    description: str = "scoring",
) -> list[list[Nats]]:
    """Return the surprise of each token of each text, in nats.

    Args:
        model: in evaluation mode, with a cache.
        prompts: rows of one length, all with an image or all without.
        texts: for each prompt the texts that are scored after it; none may be empty.
        batch_size: prompts at once.
        progress: told after each round of texts.
        description: what `progress` is told.

    Returns:
        For each prompt and text (tokens,) float64.

    Raises:
        ShapeError: if the prompts are not equally long.
    """
    _check_lengths(prompts)
    results: list[list[Nats]] = [[np.empty(0)] * len(group) for group in texts]
    # Longest first, so that texts of like length share a batch: less padding.
    orders = [sorted(range(len(group)), key=lambda k: -len(group[k])) for group in texts]
    num_done, num_texts = 0, sum(len(group) for group in texts)
    for start in range(0, len(prompts), batch_size):
        chosen = range(start, min(start + batch_size, len(prompts)))
        ran = _run_prompts(model, [prompts[index] for index in chosen])
        for turn in range(max(len(orders[index]) for index in chosen)):
            places = [orders[i][turn] if turn < len(orders[i]) else None for i in chosen]
            rows = [
                [] if place is None else texts[i][place]
                for i, place in zip(chosen, places, strict=True)
            ]
            for i, place, nats in zip(chosen, places, _score(model, ran, rows), strict=True):
                if place is not None:
                    results[i][place] = nats
                    num_done += 1
            if progress:
                progress(description, num_done, num_texts)
    return results


def _check_lengths(prompts: Sequence[Candidate]) -> None:
    lengths = sorted({len(prompt.input_ids) for prompt in prompts})
    if len(lengths) > 1:
        raise ShapeError(
            f"Prompts are {lengths[0]} to {lengths[-1]} tokens long. All must be equally long, "
            "since they share a cache. Score whole rows instead (`score_candidates`)."
        )


def _run_prompts(model: TokenModel, prompts: Sequence[Candidate]) -> _Prompts:
    with torch.inference_mode():
        batch = build_batch(prompts, device=device_of(model))
        cache = model.new_cache()
        output = model.decode(model.embed_batch(batch), cache=cache)
        return _Prompts(cache, output.hidden_states[:, -1:])  # (batch, 1, hidden)


def _score(model: TokenModel, ran: _Prompts, rows: Sequence[Sequence[int]]) -> list[Nats]:
    """Score one text after each prompt; an empty one gives nothing."""
    longest = max(len(row) for row in rows)
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    labels = [[IGNORE_INDEX, *row, *[IGNORE_INDEX] * (longest - len(row))] for row in rows]
    with torch.inference_mode():
        hidden_states = ran.last
        if longest > 1:  # the last token predicts nothing, so the model need not see it
            inputs = torch.tensor(ids, device=ran.last.device)[:, :-1]  # (batch, seq - 1)
            output = model.decode(model.embed(inputs), cache=deepcopy(ran.cache))
            hidden_states = torch.cat([ran.last, output.hidden_states], 1)  # (batch, seq, hidden)
        padded = functional.pad(hidden_states, (0, 0, 0, 1))  # (batch, seq + 1, hidden)
        targets = torch.tensor(labels, device=ran.last.device)  # (batch, seq + 1)
        nats = token_nats(padded, targets, project=model.project).cpu().numpy()
    return [nats[k, 1 : 1 + len(row)].astype(np.float64) for k, row in enumerate(rows)]
