"""LitGPT's model behind the same four methods as our Phi.

Source: litgpt.GPT.forward (litgpt 0.5.13), walked through its own modules so that embeddings can
come in and hidden states go out.
Limits: dense; no cache, so it trains and is scored, and generates after conversion to Phi. This
file does not import litgpt, `litgpt_gpt.py` does.
"""

from typing import Any

from torch import Tensor, nn

from phiray.batch import Batch, ModelOutput
from phiray.errors import ConfigError, ShapeError
from phiray.models.cache import KeyValueCache


class LitgptPhi(nn.Module):
    """A `TokenModel` that holds a `litgpt.GPT`."""

    def __init__(self, gpt: nn.Module) -> None:
        """Wrap a model made by `build_gpt`."""
        super().__init__()
        # Any: litgpt's modules are reached by names that torch's types do not know.
        self.gpt: Any = gpt

    @property
    def max_position_embeddings(self) -> int:
        """Longest row that `decode` takes."""
        return int(self.gpt.max_seq_length)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Look ids up: (batch, seq) int64 -> (batch, seq, hidden)."""
        embeds: Tensor = self.gpt.transformer.wte(input_ids)
        return embeds

    def embed_batch(self, batch: Batch) -> Tensor:
        """Embed a text batch -> (batch, seq, hidden)."""
        return self.embed(batch["input_ids"])

    def decode(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,  # noqa: ARG002 (the interface's; there is no router)
        cache: KeyValueCache | None = None,
        packed_index: Tensor | None = None,
    ) -> ModelOutput:
        """Run the blocks over (batch, seq, hidden).

        Raises:
            ConfigError: if a cache is given, or rows are to be run end to end.
            ShapeError: if the rows are longer than the model's positions.
        """
        if cache is not None:
            raise _no_cache_error()
        if packed_index is not None:
            raise ConfigError(
                "model.kind is litgpt, whose attention sees all positions before its own, and "
                "data.packing is true, which sets rows end to end. Convert the weights with "
                "`phi_from_litgpt` and load them into Phi, as `align` does, or set data.packing "
                "to false."
            )
        seq = inputs_embeds.shape[1]
        if seq > self.max_position_embeddings:
            raise ShapeError(
                f"A row is {seq} tokens long, but model.max_position_embeddings is "
                f"{self.max_position_embeddings}. Shorten the rows, or raise it."
            )
        cos, sin = self.gpt.cos[None, :seq], self.gpt.sin[None, :seq]  # (1, seq, rotary)
        hidden_states = inputs_embeds
        for block in self.gpt.transformer.h:
            hidden_states = block(hidden_states, cos, sin)
        return ModelOutput(hidden_states=self.gpt.transformer.ln_f(hidden_states), router=None)

    def project(self, hidden_states: Tensor) -> Tensor:
        """Apply the head: (..., hidden) -> logits (..., vocab)."""
        logits: Tensor = self.gpt.lm_head(hidden_states)
        return logits

    def new_cache(self) -> KeyValueCache:
        """Refuse: see `decode`."""
        raise _no_cache_error()


def _no_cache_error() -> ConfigError:
    return ConfigError(
        "model.kind is litgpt, which decodes without a cache here. Generation and scheduled "
        "sampling need one. Convert the weights with `phi_from_litgpt` and load them into Phi."
    )
