"""The Phi-2 language model, dense or with a mixture of experts after each MLP.

Source: PhiForCausalLM of transformers (same state-dict names) and microsoft/phi-2 config.json.
Limits: no dropout (Phi-2's residual dropout of 0.1 served its own pretraining).
"""

import torch
from torch import Tensor, nn

from phiray.batch import Batch, ModelOutput
from phiray.config.model import PhiConfig
from phiray.errors import ConfigError
from phiray.models.attention import Attention
from phiray.models.cache import KeyValueCache
from phiray.models.mlp import Mlp
from phiray.models.moe import MixtureOfExperts, Routing
from phiray.models.packed import PackedRows
from phiray.models.rotary import Rotary
from phiray.models.router_losses import compute_router_losses


class Block(nn.Module):
    """Phi's parallel block: attention and MLP read the same normalised input."""

    def __init__(self, config: PhiConfig, layer: int) -> None:
        """Make the block at index `layer`."""
        super().__init__()
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = Attention(config, layer)
        self.mlp = Mlp(config)
        self.moe: MixtureOfExperts | None = None
        if config.moe is not None:
            self.moe = MixtureOfExperts(config.moe, hidden_size=config.hidden_size)

    def forward(
        self,
        hidden_states: Tensor,
        angles: tuple[Tensor, Tensor],
        *,
        cache: KeyValueCache | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, Routing | None]:
        """Map (batch, seq, hidden) -> (batch, seq, hidden), with the routing if there is one."""
        normed = self.input_layernorm(hidden_states)
        attended: Tensor = self.self_attn(normed, angles, cache=cache, mask=mask)
        widened: Tensor = self.mlp(normed)
        output = hidden_states + attended + widened
        if self.moe is None:
            return output, None
        mixed, routing = self.moe(widened)
        return output + mixed, routing


class Decoder(nn.Module):
    """Embedding, blocks and final norm: what Hugging Face calls `model`."""

    def __init__(self, config: PhiConfig) -> None:
        """Make all blocks."""
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Block(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.rotary = Rotary(config)

    def forward(
        self,
        inputs_embeds: Tensor,
        *,
        cache: KeyValueCache | None = None,
        packed: PackedRows | None = None,
    ) -> tuple[Tensor, list[Routing]]:
        """Map (batch, seq, hidden) to normalised hidden states, with each layer's routing."""
        start = 0 if cache is None else cache.length
        angles = self.rotary(start, inputs_embeds.shape[1])
        hidden_states, routings, mask = inputs_embeds, [], None
        if packed is not None:
            hidden_states = packed.pack(inputs_embeds)  # (sequences, packed seq, hidden)
            cos, sin = (angle[packed.position_ids] for angle in angles)
            angles, mask = (cos, sin), packed.attention_mask()
        for block in self.layers:
            hidden_states, routing = block(hidden_states, angles, cache=cache, mask=mask)
            if routing is not None:
                routings.append(routing)
        hidden_states = self.final_layernorm(hidden_states)
        if packed is not None:
            hidden_states = packed.unpack(hidden_states)  # (batch, seq, hidden)
            routings = [routing.unpacked(packed) for routing in routings]
        return hidden_states, routings


class Phi(nn.Module):
    """A `TokenModel`: Phi with its head."""

    def __init__(self, config: PhiConfig) -> None:
        """Make the model; `build_language_model` gives it seeded weights."""
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)

    @property
    def max_position_embeddings(self) -> int:
        """Longest row that `decode` takes, cached positions included."""
        return self.config.max_position_embeddings

    def embed(self, input_ids: Tensor) -> Tensor:
        """Look ids up: (batch, seq) int64 -> (batch, seq, hidden)."""
        embeds: Tensor = self.model.embed_tokens(input_ids)
        return embeds

    def embed_batch(self, batch: Batch) -> Tensor:
        """Embed a text batch -> (batch, seq, hidden)."""
        return self.embed(batch["input_ids"])

    def decode(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        packed_index: Tensor | None = None,
    ) -> ModelOutput:
        """Run the blocks.

        Args:
            inputs_embeds: (batch, seq, hidden).
            attention_mask: (batch, seq), 1 for real positions. Only router statistics need it:
                padding stands at the end, and no position looks ahead.
            cache: earlier positions, to which these are appended; router losses are then left out.
            packed_index: (sequences, packed seq), to run the rows end to end; not with a cache.
                Padding is 0 in what comes out.
        """
        packed = None
        if packed_index is not None:
            assert cache is None, "rows that stand end to end have no cache"
            batch, seq = inputs_embeds.shape[:2]
            packed = PackedRows(packed_index, batch=batch, seq=seq)
        hidden_states, routings = self.model(inputs_embeds, cache=cache, packed=packed)
        if not routings or cache is not None:
            return ModelOutput(hidden_states=hidden_states, router=None)
        router = compute_router_losses(routings, attention_mask=attention_mask)
        return ModelOutput(hidden_states=hidden_states, router=router)

    def project(self, hidden_states: Tensor) -> Tensor:
        """Apply the head: (..., hidden) -> logits (..., vocab)."""
        logits: Tensor = self.lm_head(hidden_states)
        return logits

    def new_cache(self) -> KeyValueCache:
        """Make an empty cache for `decode`."""
        return KeyValueCache()

    @torch.no_grad()
    def update_router_bias(self, expert_counts: Tensor) -> None:
        """Nudge each router's bias towards experts that got too little (arXiv 2408.15664).

        Args:
            expert_counts: (layers, experts), slots of one optimizer step over all ranks.

        Raises:
            ConfigError: if the model is dense.
        """
        if self.config.moe is None:
            raise ConfigError(
                "model.moe is null, so there is no router to balance. Set model.moe, or leave "
                "the balancing step out."
            )
        rate = self.config.moe.bias_update_rate
        steps = rate * torch.sign(expert_counts.mean(dim=1, keepdim=True) - expert_counts)
        for block, step in zip(self.model.layers, steps, strict=True):
            assert isinstance(block, Block)
            assert block.moe is not None
            bias = block.moe.router.bias
            bias += step
            bias -= bias.mean()
