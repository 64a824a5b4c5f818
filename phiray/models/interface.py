"""What every trainable model offers to training, generation and evaluation, and what a tower does.

Source: the split of a causal language model into embedding, decoder and head, so that losses can
run the head on label positions only and image embeddings can take the place of token embeddings.
Limits: decoder-only models with right-padded batches.
"""

from typing import Protocol, cast

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from phiray.batch import Batch, ModelOutput
from phiray.models.cache import KeyValueCache


class FeatureTower(Protocol):
    """A frozen tower, whose features may be computed once and kept."""

    def describe(self) -> dict[str, JsonValue]:
        """Say all that its features depend on, its weights and the pixels apart."""
        ...

    @property
    def feature_shape(self) -> tuple[int, int]:
        """(patches, vision_hidden) of one image."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return its weights."""
        ...

    def to(self, device: torch.device) -> "FeatureTower":
        """Move it to a device."""
        ...

    def __call__(self, pixel_values: Tensor) -> Tensor:
        """Map (images, 3, height, width) uint8 to (images, patches, vision_hidden) float."""
        ...


class TokenModel(Protocol):
    """A causal model over token rows; images are already spliced in by `embed_batch`."""

    @property
    def max_position_embeddings(self) -> int:
        """Longest row that `decode` takes, cached positions included."""
        ...

    def embed(self, input_ids: Tensor) -> Tensor:
        """Look ids up: (batch, seq) int64 -> (batch, seq, hidden)."""
        ...

    def embed_batch(self, batch: Batch) -> Tensor:
        """Embed a batch's rows, images included -> (batch, seq, hidden)."""
        ...

    def decode(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        packed_index: Tensor | None = None,
    ) -> ModelOutput:
        """Run the blocks over (batch, seq, hidden); the mask serves router statistics only.

        With `packed_index` of a batch the rows are run end to end; what comes out is by row still.
        """
        ...

    def project(self, hidden_states: Tensor) -> Tensor:
        """Apply the head: (..., hidden) -> logits (..., vocab)."""
        ...

    def new_cache(self) -> KeyValueCache:
        """Make an empty cache for `decode`."""
        ...


def as_token_model(module: nn.Module) -> TokenModel:
    """Name a module by the methods that it has as well."""
    # Python cannot name "Module and TokenModel" in one type
    return cast(TokenModel, module)
