"""A language model that reads images: tower, projector, and the splice of their embeddings.

Source: LLaVA (arXiv 2304.08485), with one placeholder id per patch as in transformers.
Limits: every image gives the same number of patches; images stand in the order of the rows.
"""

import torch
from torch import Tensor, nn

from phiray.batch import Batch, ModelOutput
from phiray.errors import ShapeError
from phiray.models.cache import KeyValueCache
from phiray.models.phi import Phi
from phiray.models.projector import Projector


class VisionLanguageModel(nn.Module):
    """A `TokenModel` whose `embed_batch` puts image embeddings over the `<image>` ids."""

    def __init__(
        self, language_model: Phi, vision: nn.Module, projector: Projector, *, image_token_id: int
    ) -> None:
        """Join the parts.

        Args:
            language_model: the decoder.
            vision: maps pixels (images, 3, height, width) uint8 to (images, patches,
                vision_hidden), frozen.
            projector: maps those to (images, patches, hidden).
            image_token_id: the id of `<image>`, one per patch.
        """
        super().__init__()
        self.language_model = language_model
        self.vision = vision
        self.projector = projector
        self.image_token_id = image_token_id

    @property
    def max_position_embeddings(self) -> int:
        """Longest row that `decode` takes, cached positions included."""
        return self.language_model.max_position_embeddings

    def embed(self, input_ids: Tensor) -> Tensor:
        """Look ids up: (batch, seq) int64 -> (batch, seq, hidden)."""
        return self.language_model.embed(input_ids)

    def embed_batch(self, batch: Batch, *, image_features: Tensor | None = None) -> Tensor:
        """Embed rows and splice the images in.

        Args:
            batch: rows; `pixel_values` may be absent when no row has an image.
            image_features: (images, patches, vision_hidden), if the tower has run before; they
                then stand for `pixel_values`.

        Returns:
            (batch, seq, hidden).

        Raises:
            ShapeError: if the `<image>` ids are not as many as the patches.
        """
        if image_features is None:
            image_features = self.encode_images(batch)
        inputs_embeds = self.embed(batch["input_ids"])  # (batch, seq, hidden)
        places = batch["input_ids"] == self.image_token_id  # (batch, seq)
        if image_features is None:
            _check_places(places, num_embeds=0)
            return inputs_embeds + self._untouched_projector(inputs_embeds)
        image_embeds: Tensor = self.projector(image_features)  # (images, patches, hidden)
        _check_places(places, num_embeds=image_embeds.shape[0] * image_embeds.shape[1])
        image_embeds = image_embeds.to(inputs_embeds.dtype)
        return inputs_embeds.masked_scatter(places.unsqueeze(-1), image_embeds)

    def encode_images(self, batch: Batch) -> Tensor | None:
        """Run the frozen tower -> (images, patches, vision_hidden), or none without an image.

        Where the batch holds features of a cache, the tower does not run.
        """
        cached = batch.get("image_features")
        if cached is not None:
            return cached.float() if len(cached) else None
        pixel_values = batch.get("pixel_values")
        if pixel_values is None or len(pixel_values) == 0:
            return None
        with torch.no_grad():
            image_features: Tensor = self.vision(pixel_values)
        return image_features

    def decode(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        packed_index: Tensor | None = None,
    ) -> ModelOutput:
        """Run the language model's blocks over (batch, seq, hidden)."""
        return self.language_model.decode(
            inputs_embeds, attention_mask=attention_mask, cache=cache, packed_index=packed_index
        )

    def project(self, hidden_states: Tensor) -> Tensor:
        """Apply the head: (..., hidden) -> logits (..., vocab)."""
        return self.language_model.project(hidden_states)

    def new_cache(self) -> KeyValueCache:
        """Make an empty cache for `decode`."""
        return self.language_model.new_cache()

    def _untouched_projector(self, inputs_embeds: Tensor) -> Tensor:
        """Return a zero that depends on the projector: DDP wants a gradient on every rank."""
        width = self.projector.vision_hidden_size
        blank = inputs_embeds.new_zeros(1, 1, width)  # (images, patches, vision_hidden)
        embeds: Tensor = self.projector(blank)
        return (0.0 * embeds.sum()).to(inputs_embeds.dtype)


def _check_places(places: Tensor, *, num_embeds: int) -> None:
    found = int(places.sum())
    if found != num_embeds:
        raise ShapeError(
            f"The rows hold {found} <image> ids, but the images give {num_embeds} patch "
            "embeddings. Write one id per patch of each image, and give each such row its image."
        )
