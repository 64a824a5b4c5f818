"""The types that hold tensors and cross layers: batches of rows, and what a model returns.

Source: batch keys are those of Hugging Face and of Phi-2's own config.
Limits: no behaviour lives here, but that a batch can be put on a device.
"""

from dataclasses import dataclass
from typing import NotRequired, TypedDict, cast

import torch
from torch import Tensor

from phiray.types import BadRow


class Batch(TypedDict):
    """One micro-batch of rows, right-padded to a common length.

    Padding stands only at the end of a row, so a causal model needs no attention mask for the
    positions before it; `attention_mask` says where a row ends, for losses and router statistics.
    """

    input_ids: Tensor
    """(batch, seq) int64; one `<image>` id per patch where an image stands."""
    attention_mask: Tensor
    """(batch, seq) int64; 1 for a real position, 0 for padding."""
    labels: Tensor
    """(batch, seq) int64, not shifted; IGNORE_INDEX where nothing is learnt."""
    loss_weights: Tensor
    """(batch,) float32; 1 for a row of the data, 0 for a filler or a row that could not be read."""
    row_ids: Tensor
    """(batch,) int64; the position of the row in its data set, FILLER_ROW for a filler."""
    packed_index: NotRequired[Tensor]
    """(sequences, packed seq) int64; row * seq + position of what stands there where rows are run
    end to end in fewer sequences, below 0 for padding. All else of the batch is by row."""
    pixel_values: NotRequired[Tensor]
    """(images, 3, height, width) uint8, not normalised; in the order of the rows with images."""
    image_features: NotRequired[Tensor]
    """(images, patches, vision_hidden) bf16, from a cache; in the place of `pixel_values`."""


@dataclass(frozen=True)
class RouterLosses:
    """Balance terms of the mixture of experts, one value per sequence, summed over layers."""

    balance: Tensor
    """(batch,) float32; 1.0 per layer when experts are used evenly (before any coefficient)."""
    z: Tensor
    """(batch,) float32; mean squared log-sum-exp of the router's logits, summed over layers."""
    expert_counts: Tensor
    """(layers, experts) float32; slots that each expert received from real positions."""


@dataclass(frozen=True)
class ModelOutput:
    """What every phiray model returns for a batch."""

    hidden_states: Tensor
    """(batch, seq, hidden), after the final layer norm: the input of the head."""
    router: RouterLosses | None
    """None for a dense model."""


@dataclass(frozen=True)
class StepInput:
    """What one worker gets for one optimizer step."""

    micro_batches: list[Batch]
    bad_rows: list[BadRow]


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """Copy a batch to a device; on the CPU nothing is copied."""
    moved = {
        name: value.to(device, non_blocking=True)
        for name, value in batch.items()
        if isinstance(value, Tensor)
    }
    # the keys are those of `batch`; mypy cannot follow a TypedDict through a comprehension
    return cast(Batch, moved)
