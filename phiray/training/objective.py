"""What a step minimises, as sums over rows, so that it adds up over workers and micro-batches.

    Objective(model, *, moe, method, max_steps, seed)(batch, step) -> ObjectiveSums
    count_labels(batch) -> int

Source: token losses summed and divided by the label tokens of the whole step, since a mean of means
weighs tokens unequally (huggingface/transformers issue 34242); the balance terms of the mixture of
experts are per sequence and weighted by its label tokens, so that they add up in the same way.
Limits: knows no dataset and no Ray; the model is anything with the methods of `TokenModel`.
"""

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from phiray.batch import Batch, RouterLosses
from phiray.config.model import MoeConfig
from phiray.config.training import MethodConfig, ScheduledSamplingMethod
from phiray.losses import next_token_losses
from phiray.models.interface import TokenModel, as_token_model
from phiray.training.scheduled_sampling import choose_replaced, gold_probability, mix_inputs
from phiray.types import IGNORE_INDEX

_VISION_PARTS = ("projector.", "vision.")
"""Parameter names of a vision-language model that are not the language model's."""


@dataclass(frozen=True)
class ObjectiveSums:
    """Sums over the real rows of one micro-batch; only `loss_sum` carries a gradient."""

    loss_sum: Tensor
    """() float32, nats: token losses and, per label token, the weighted balance terms."""
    token_loss_sum: Tensor
    """() float32, nats: cross entropy alone."""
    balance_sum: Tensor
    """() float32: balance term of each row, summed."""
    z_sum: Tensor
    """() float32: router z term of each row, summed."""
    num_real_rows: Tensor
    """() float32: rows that are no filler and could be read."""
    num_replaced_tokens: Tensor
    """() float32: input tokens that the model filled itself."""
    expert_counts: Tensor | None
    """(layers, experts) float32; None for a dense model."""


class BiasBalanced(Protocol):
    """A model whose routers are balanced by a bias."""

    def update_router_bias(self, expert_counts: Tensor) -> None:
        """Move the biases by (layers, experts) counts of one step."""
        ...


class Objective(nn.Module):
    """The loss of a batch at a step, by the method of the run; DDP wraps this module."""

    def __init__(
        self,
        model: nn.Module,
        *,
        moe: MoeConfig | None,
        method: MethodConfig,
        max_steps: int,
        seed: int,
    ) -> None:
        """Hold the model; call it once freezing is done, for that decides on the balance terms."""
        super().__init__()
        self.model = model
        # a frozen router cannot be balanced
        self._moe = moe if _trains_language_model(model) else None
        self._method = method
        self._max_steps = max_steps
        self._seed = seed

    @property
    def token_model(self) -> TokenModel:
        """The model by its four methods."""
        return as_token_model(self.model)

    @property
    def balances_by_bias(self) -> bool:
        """Whether the router's bias is moved after each step.

        The balance and z terms of the loss stay on beside it; their coefficients switch them off.
        """
        return self._moe is not None and self._moe.bias_update_rate > 0

    def gold_probability(self, step: int) -> float:
        """Return the probability (0..1) of a gold input token at a step."""
        return gold_probability(self._method, step=step, max_steps=self._max_steps)

    def update_router_bias(self, expert_counts: Tensor) -> None:
        """Move the routers' biases towards an even load, by the counts of the whole step.

        Args:
            expert_counts: (layers, experts) float32, summed over all workers.
        """
        language_model = getattr(self.model, "language_model", self.model)
        # nn.Module types every attribute as "Tensor or Module"; only Phi has a bias to move
        cast(BiasBalanced, language_model).update_router_bias(expert_counts)

    def forward(self, batch: Batch, step: int) -> ObjectiveSums:
        """Sum the losses of a micro-batch.

        Args:
            batch: on the device of the model.
            step: optimizer steps done before this one.

        Returns:
            Sums over rows, each row times its `loss_weights`.
        """
        inputs_embeds = self.token_model.embed_batch(batch)  # (batch, seq, hidden)
        inputs_embeds, num_replaced = self._mix(batch, step, inputs_embeds=inputs_embeds)
        output = self.token_model.decode(
            inputs_embeds,
            attention_mask=batch["attention_mask"],
            packed_index=batch.get("packed_index"),
        )
        losses = next_token_losses(
            output.hidden_states, batch["labels"], project=self.token_model.project
        )
        router = output.router
        weights = batch["loss_weights"]  # (batch,)
        label_tokens = weights * losses.counts  # (batch,)
        token_loss_sum = (weights * losses.sums).sum()
        loss_sum = token_loss_sum + self._balance(router, label_tokens=label_tokens)
        return ObjectiveSums(
            loss_sum=loss_sum,
            token_loss_sum=token_loss_sum.detach(),
            balance_sum=_weighted(weights, router.balance if router else None),
            z_sum=_weighted(weights, router.z if router else None),
            num_real_rows=(weights > 0).sum().float(),
            num_replaced_tokens=num_replaced,
            expert_counts=router.expert_counts.detach() if router else None,
        )

    def _mix(self, batch: Batch, step: int, *, inputs_embeds: Tensor) -> tuple[Tensor, Tensor]:
        probability = self.gold_probability(step)
        none = torch.zeros((), device=inputs_embeds.device)
        if not isinstance(self._method, ScheduledSamplingMethod) or probability >= 1:
            return inputs_embeds, none
        replaced = choose_replaced(batch, probability=probability, seed=self._seed, step=step)
        if not bool(replaced.any()):
            return inputs_embeds, none
        mixed = mix_inputs(
            self.model,
            batch,
            inputs_embeds=inputs_embeds,
            replaced=replaced,
            method=self._method,
        )
        return mixed, replaced.sum().float()

    def _balance(self, router: RouterLosses | None, *, label_tokens: Tensor) -> Tensor:
        if router is None or self._moe is None:
            return label_tokens.new_zeros(())
        terms = self._moe.balance_coefficient * router.balance  # (batch,)
        terms = terms + self._moe.z_coefficient * router.z
        return (label_tokens * terms).sum()


def count_labels(batch: Batch) -> float:
    """Count the label tokens of a batch's real rows; the first position is predicted by none."""
    per_row = (batch["labels"][:, 1:] != IGNORE_INDEX).sum(1)  # (batch,)
    return float((per_row * batch["loss_weights"]).sum())


def _trains_language_model(model: nn.Module) -> bool:
    return any(
        parameter.requires_grad and not name.startswith(_VISION_PARTS)
        for name, parameter in model.named_parameters()
    )


def _weighted(weights: Tensor, values: Tensor | None) -> Tensor:
    if values is None:
        return weights.new_zeros(())
    return (weights * values.detach()).sum()
