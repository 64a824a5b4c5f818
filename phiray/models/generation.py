"""Greedy generation with a key/value cache.

Source: greedy decoding; rows of one length need no padding on the left and no position ids.
Limits: no sampling, no beams; rows of different length go into different batches; a text ends where
the model's positions do, one token after the last of them.
"""

import torch
from torch import Tensor

from phiray.batch import Batch
from phiray.errors import DataError, ShapeError
from phiray.models.interface import TokenModel


@torch.no_grad()
def generate_greedy(
    model: TokenModel, batch: Batch, *, max_new_tokens: int, eos_id: int
) -> list[list[int]]:
    """Continue each row with its most likely tokens.

    Args:
        model: in evaluation mode.
        batch: prompts, all equally long; labels are not looked at.
        max_new_tokens: at most so many tokens per row; fewer if the model has no more positions.
        eos_id: a row that gives this id ends; the id is not returned.

    Returns:
        The new tokens of each row.

    Raises:
        ShapeError: if the rows are not equally long.
        DataError: if the prompts alone are longer than the model's positions.
    """
    _check_lengths(batch["attention_mask"])
    num_tokens = min(max_new_tokens, _num_that_fit(model, batch["input_ids"].shape[1]))
    cache = model.new_cache()
    output = model.decode(model.embed_batch(batch), cache=cache)
    hidden_states = output.hidden_states[:, -1:]  # (batch, 1, hidden)
    rows: list[list[int]] = [[] for _ in range(len(batch["input_ids"]))]
    is_open = [True] * len(rows)
    for step in range(num_tokens):
        chosen = model.project(hidden_states).argmax(dim=-1)  # (batch, 1)
        for row, token in enumerate(chosen[:, 0].tolist()):
            is_open[row] = is_open[row] and token != eos_id
            if is_open[row]:
                rows[row].append(token)
        if not any(is_open) or step + 1 == num_tokens:
            break
        hidden_states = model.decode(model.embed(chosen), cache=cache).hidden_states
    return rows


def _num_that_fit(model: TokenModel, prompt_length: int) -> int:
    """Count the new tokens that the positions allow."""
    positions = model.max_position_embeddings
    if prompt_length > positions:
        raise DataError(
            f"A prompt is {prompt_length} tokens long, image included, but the model has "
            f"{positions} positions (model.max_position_embeddings). Shorten the text, or train a "
            "model with more positions."
        )
    # The last new token needs no position: it is chosen from the state before it, and never read.
    return positions - prompt_length + 1


def _check_lengths(attention_mask: Tensor) -> None:
    if not bool(attention_mask.all()):
        lengths = attention_mask.sum(dim=1)  # (batch,)
        raise ShapeError(
            f"Prompts are {int(lengths.min())} to {int(lengths.max())} tokens long in rows of "
            f"{attention_mask.shape[1]}. All must be equally long, without padding: group prompts "
            "by length."
        )
