"""Measure a model on rows that it does not train on: nats per label token, over all workers.

    Validation(batches, settings=..., collective=...).measure(model) -> float

Source: the same sums over the same counts as the training loss, teacher-forced for every method.
Limits: the rows are held in memory, so there are a few hundred of them; no balance terms.
"""

import math
from dataclasses import dataclass

import torch

from phiray.batch import Batch, move_batch
from phiray.errors import DataError, ExitCode, PhirayError
from phiray.losses import next_token_losses
from phiray.models.interface import TokenModel
from phiray.training.collective import Collective, sum_numbers
from phiray.training.step import StepSettings, autocast


@dataclass(frozen=True)
class Validation:
    """Rows to measure on; every worker holds its own share of them."""

    batches: list[Batch]
    """Of this worker, on the CPU; may be none where there are few rows."""
    settings: StepSettings
    collective: Collective

    @torch.no_grad()
    def measure(self, model: TokenModel) -> float:
        """Return the mean cross entropy per label token of all workers' rows.

        Args:
            model: on the device of the settings.

        Raises:
            DataError: if no row has a label.
            PhirayError: if the mean is not finite.
        """
        nats = num_labels = 0.0
        for batch in self.batches:
            moved = move_batch(batch, self.settings.device)
            with autocast(self.settings):
                embeds = model.embed_batch(moved)  # (batch, seq, hidden)
                output = model.decode(embeds, attention_mask=moved["attention_mask"])
                losses = next_token_losses(
                    output.hidden_states, moved["labels"], project=model.project
                )
            weights = moved["loss_weights"]  # (batch,)
            nats += float((weights * losses.sums).sum())
            num_labels += float((weights * losses.counts).sum())
        totals = sum_numbers(self.collective, [nats, num_labels], device=self.settings.device)
        if totals[1] == 0:
            raise DataError(
                "No row of the validation part has a label. Expected at least one token to be "
                "measured. Raise data.split.validation_fraction."
            )
        if not math.isfinite(totals[0]):
            raise PhirayError(
                f"The validation loss is {totals[0] / totals[1]}, after an update whose own loss "
                "was finite. Expected a finite number. Lower training.learning_rate; the newest "
                "checkpoint is intact.",
                exit_code=ExitCode.BAD_DATA,
            )
        return totals[0] / totals[1]
