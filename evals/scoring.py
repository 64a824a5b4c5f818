"""How surprised a model is by given texts, token by token.

Source: the definition of lm-evaluation-harness's loglikelihood: the first target token is scored,
prompt and image positions never are.
Limits: rows are masked by their length, never by an id: end, padding and unknown are one id in
Phi-2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from phiray.batch import Batch, move_batch
from phiray.losses import token_nats
from phiray.models.interface import TokenModel
from phiray.types import IGNORE_INDEX, Progress

Pixels = NDArray[np.uint8]
"""(3, height, width) uint8, not normalised."""


@dataclass(frozen=True)
class Candidate:
    """A row whose labelled tokens are scored."""

    input_ids: Sequence[int]
    labels: Sequence[int]
    """As long as `input_ids`, not shifted; IGNORE_INDEX where nothing is scored."""
    pixels: Pixels | None = None


@dataclass(frozen=True)
class TextNats:
    """Surprise of one text: its tokens and, apart from them, its end."""

    text: float
    num_tokens: int
    """Without EOS."""
    eos: float


def score_candidates(
    model: TokenModel,
    candidates: Sequence[Candidate],
    *,
    batch_size: int,
    progress: Progress | None = None,
    description: str = "scoring",
) -> list[NDArray[np.float64]]:
    """Return the surprise of each labelled token, in nats.

    Args:
        model: in evaluation mode.
        candidates: rows, all with an image or all without.
        batch_size: rows at once.
        progress: told after each batch.
        description: what `progress` is told.

    Returns:
        For each candidate (labelled tokens,) float64, in their order in the row.
    """
    results: list[NDArray[np.float64]] = [np.empty(0)] * len(candidates)
    # Rows of like length share a batch: less padding. The sort is stable, so batches are fixed.
    order = sorted(range(len(candidates)), key=lambda index: len(candidates[index].input_ids))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = build_batch([candidates[index] for index in chosen], device=device_of(model))
        nats = batch_nats(model, batch).cpu().numpy().astype(np.float64)  # (batch, seq)
        for row, index in enumerate(chosen):
            labels = np.asarray(candidates[index].labels)
            results[index] = nats[row, : len(labels)][labels != IGNORE_INDEX]
        if progress:
            progress(description, start + len(chosen), len(order))
    return results


def batch_nats(model: TokenModel, batch: Batch) -> Tensor:
    """Return (batch, seq) float32 nats at each label position, 0 elsewhere.

    The last position predicts nothing, so the model never sees it: a row may be one token longer
    than the longest sequence that the model takes.
    """
    with torch.inference_mode():
        inputs_embeds = model.embed_batch(batch)[:, :-1]  # (batch, seq - 1, hidden)
        mask = batch["attention_mask"][:, :-1]  # (batch, seq - 1)
        hidden_states = model.decode(inputs_embeds, attention_mask=mask).hidden_states
        padded = functional.pad(hidden_states, (0, 0, 0, 1))  # (batch, seq, hidden)
        return token_nats(padded, batch["labels"], project=model.project)


def build_batch(candidates: Sequence[Candidate], *, device: torch.device) -> Batch:
    """Pad rows at their right end to the longest and stack their images."""
    longest = max(len(candidate.input_ids) for candidate in candidates)
    batch: Batch = {
        "input_ids": _stack([candidate.input_ids for candidate in candidates], longest, 0),
        "attention_mask": _stack([[1] * len(c.input_ids) for c in candidates], longest, 0),
        "labels": _stack([c.labels for c in candidates], longest, IGNORE_INDEX),
        "loss_weights": torch.ones(len(candidates)),
        "row_ids": torch.arange(len(candidates)),
    }
    pixels = [candidate.pixels for candidate in candidates if candidate.pixels is not None]
    if pixels:
        batch["pixel_values"] = torch.from_numpy(np.stack(pixels))  # (images, 3, height, width)
    return move_batch(batch, device)


def _stack(rows: Sequence[Sequence[int]], length: int, padding: int) -> Tensor:
    padded = [[*row, *[padding] * (length - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64)  # (batch, seq)


def device_of(model: TokenModel) -> torch.device:
    """Return where a model's weights are; the CPU if it has none."""
    if isinstance(model, nn.Module):
        for parameter in model.parameters():
            return parameter.device
    return torch.device("cpu")


def split_end(nats: NDArray[np.float64]) -> TextNats:
    """Take the last token, EOS, apart from the text before it."""
    return TextNats(float(nats[:-1].sum()), len(nats) - 1, float(nats[-1]))


def split_answers(labels: Sequence[int], nats: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cut a row's surprises into its answers: runs of labels with something unlabelled between.

    Args:
        labels: of the whole row.
        nats: (labelled tokens,) float64.
    """
    positions = np.flatnonzero(np.asarray(labels) != IGNORE_INDEX)
    cuts = np.flatnonzero(np.diff(positions) > 1) + 1
    return [part for part in np.split(nats, cuts) if len(part)]
