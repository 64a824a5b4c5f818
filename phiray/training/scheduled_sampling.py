"""Scheduled sampling: inputs that mix gold tokens with the model's own; targets stay gold.

A coin per token and example decides, before anything runs, which input tokens the model must
provide itself. A rollout without gradients finds them; the one forward with gradients follows.

Source: Bengio et al. (arXiv 1506.03099); the parallel rollout is Duckworth et al. (arXiv
1906.04331): each pass fills all chosen positions from the mix of the pass before, so as many passes
as chosen positions give the exact, token-by-token result.
Limits: greedy picks only. `exact` needs a model whose `decode` takes a cache.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from phiray.batch import Batch
from phiray.config.training import MethodConfig, ScheduledSamplingMethod
from phiray.models.interface import TokenModel, as_token_model
from phiray.types import FILLER_ROW, IGNORE_INDEX

_STEEPNESS = 10.0
"""Slope of the inverse sigmoid over the run: flat at both ends, 1/(1 + e^5) = 0.7 % from them
before it is stretched onto `start` and `end`."""


def gold_probability(method: MethodConfig, *, step: int, max_steps: int) -> float:
    """Return the probability (0..1) of a gold input token at a step, counted from 0.

    Step 0 has `start`, step `max_steps - 1` has `end`, both exactly; it never rises between. A run
    of a single step has `start`.
    """
    if not isinstance(method, ScheduledSamplingMethod):
        return 1.0
    start, end = method.start, method.end
    if step == 0:
        return start
    if step >= max_steps - 1:
        return end
    done = step / (max_steps - 1)
    if method.schedule == "exponential" and start > 0:
        fallen: float = start * (end / start) ** done
        return max(end, fallen)
    if method.schedule == "inverse-sigmoid":
        first, last = _inverse_sigmoid(0.0), _inverse_sigmoid(1.0)
        done = (first - _inverse_sigmoid(done)) / (first - last)
    # Rounded, a difference may overshoot by the last bit.
    return max(end, start + (end - start) * done)


def describe_schedule(method: ScheduledSamplingMethod, *, max_steps: int) -> str:
    """Say in one line what the probability of a gold token is at the start, middle and end.

    Steps are counted from 1, as in the metrics.
    """
    steps = dict.fromkeys((0, (max_steps - 1) // 2, max_steps - 1))
    parts = [
        f"{gold_probability(method, step=step, max_steps=max_steps):.4g} at step {step + 1}"
        for step in steps
    ]
    return f"{method.kind} ({method.schedule}), probability of a gold token: {', '.join(parts)}"


def draw_coins(row_ids: Tensor, *, seq: int, seed: int, step: int) -> Tensor:
    """Draw one number per token that depends on nothing but seed, step, row and position.

    Args:
        row_ids: (batch,) int64.
        seq: positions wanted; a longer row begins with the same numbers.
        seed: of the run.
        step: of the run.

    Returns:
        (batch, seq) float64 in [0, 1), on the CPU. A filler row gets zeros: all gold.
    """
    coins = np.zeros((len(row_ids), seq))
    for index, row_id in enumerate(row_ids.tolist()):
        if row_id != FILLER_ROW:
            # the two upper counter words hold step and row; drawing counts up the lowest one
            generator = np.random.Philox(key=[seed, 0], counter=[0, 0, step, row_id])
            coins[index] = np.random.Generator(generator).random(seq)
    return torch.from_numpy(coins)  # (batch, seq)


def choose_replaced(batch: Batch, *, probability: float, seed: int, step: int) -> Tensor:
    """Choose the input positions that the model must fill itself: labels whose coin is not gold.

    Returns:
        (batch, seq) bool, on the device of the batch; never position 0, which nothing predicts.
    """
    labels = batch["labels"]
    coins = draw_coins(batch["row_ids"], seq=labels.shape[1], seed=seed, step=step)
    replaced = (coins >= probability).to(labels.device) & (labels != IGNORE_INDEX)
    replaced[:, 0] = False
    return replaced


def mix_inputs(
    model: nn.Module,
    batch: Batch,
    *,
    inputs_embeds: Tensor,
    replaced: Tensor,
    method: ScheduledSamplingMethod,
) -> Tensor:
    """Replace the chosen inputs by the model's own greedy tokens.

    Args:
        model: a `TokenModel`; in evaluation mode while it rolls out.
        batch: rows with the gold tokens.
        inputs_embeds: (batch, seq, hidden) of the gold tokens, images included.
        replaced: (batch, seq) bool.
        method: `exact` or `parallel`.

    Returns:
        (batch, seq, hidden); gradients flow into the embeddings of gold and own tokens.
    """
    token_model = as_token_model(model)
    with torch.no_grad(), _evaluation_mode(model):
        gold = inputs_embeds.detach()
        if method.rollout == "exact":
            tokens = _roll_out_exactly(token_model, batch, gold=gold, replaced=replaced)
        else:
            passes = method.num_passes
            tokens = _roll_out_in_passes(
                token_model, batch, gold=gold, replaced=replaced, num_passes=passes
            )
    # Under autocast the weights were cast without gradients just now. Older torch uses those casts
    # again in the forward with gradients, and none reach the weights (pytorch issue 105211).
    torch.clear_autocast_cache()
    own = token_model.embed(tokens)  # (batch, seq, hidden)
    return torch.where(replaced.unsqueeze(-1), own.to(inputs_embeds.dtype), inputs_embeds)


def _roll_out_in_passes(
    model: TokenModel, batch: Batch, *, gold: Tensor, replaced: Tensor, num_passes: int
) -> Tensor:
    tokens = batch["input_ids"]
    mixed = gold
    for _ in range(num_passes):
        hidden_states = model.decode(
            mixed, attention_mask=batch["attention_mask"], packed_index=batch.get("packed_index")
        ).hidden_states
        before = tokens
        tokens = before.clone()
        rows, positions = replaced.nonzero(as_tuple=True)
        logits = model.project(hidden_states[rows, positions - 1])  # (tokens, vocab)
        tokens[rows, positions] = logits.argmax(-1)
        if num_passes > 1 and torch.equal(tokens, before):
            break  # a fixed point: every further pass would find the same tokens
        mixed = torch.where(replaced.unsqueeze(-1), model.embed(tokens).to(gold.dtype), gold)
    return tokens  # (batch, seq)


def _roll_out_exactly(model: TokenModel, batch: Batch, *, gold: Tensor, replaced: Tensor) -> Tensor:
    tokens = batch["input_ids"].clone()
    columns = replaced.any(0).nonzero().flatten().tolist()
    cache = model.new_cache()
    seen = 0
    mixed = gold.clone()
    for column in columns:
        # all that stands before the column is known: one call takes the gold tokens between too
        chunk = mixed[:, seen:column]  # (batch, new, hidden)
        mask = batch["attention_mask"][:, seen:column]
        hidden_states = model.decode(chunk, attention_mask=mask, cache=cache).hidden_states
        picks = model.project(hidden_states[:, -1]).argmax(-1)  # (batch,)
        chosen = replaced[:, column]
        tokens[:, column] = torch.where(chosen, picks, tokens[:, column])
        own = model.embed(tokens[:, column : column + 1])[:, 0].to(gold.dtype)  # (batch, hidden)
        mixed[:, column] = torch.where(chosen.unsqueeze(-1), own, mixed[:, column])
        seen = column
    return tokens  # (batch, seq)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _inverse_sigmoid(done: float) -> float:
    return 1.0 / (1.0 + float(np.exp(_STEEPNESS * (done - 0.5))))
