"""Models whose every likelihood is known, and a tokenizer of bytes."""

import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional

from phiray.batch import Batch, ModelOutput
from phiray.models.cache import KeyValueCache
from phiray.text.tokenizer import Tokenizer

NUM_BYTES = 256
_SURE = 12.0
"""Logit of the token that the oracle expects."""


def byte_tokenizer() -> Tokenizer:
    """Ids 0..255 are bytes, 256 is EOS."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(letters)}
    fast = FastTokenizer(models.BPE(vocab=vocabulary, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(["<|endoftext|>"])
    return Tokenizer(fast.to_str())


class UniformModel(nn.Module):
    """Finds every byte equally likely and everything else nearly impossible; sees nothing."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        logits = torch.full((vocab_size,), -1e4)
        logits[:NUM_BYTES] = 0.0
        self.register_buffer("logits", logits)
        self.longest = 0

    @property
    def max_position_embeddings(self) -> int:
        return 1000

    def embed(self, input_ids: Tensor) -> Tensor:
        return torch.zeros(*input_ids.shape, 1)

    def embed_batch(self, batch: Batch) -> Tensor:
        return self.embed(batch["input_ids"])

    def decode(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        packed_index: Tensor | None = None,
    ) -> ModelOutput:
        self.longest = max(self.longest, inputs_embeds.shape[1])
        return ModelOutput(inputs_embeds, None)

    def project(self, hidden_states: Tensor) -> Tensor:
        logits = self.get_buffer("logits")
        return logits.expand(*hidden_states.shape[:-1], len(logits))

    def new_cache(self) -> KeyValueCache:
        return KeyValueCache()


class OracleModel(nn.Module):
    """Expects the byte that the picture's first pixel names, whatever came before.

    After `text_length` tokens it ends, so that what it says of a picture is known. All that it
    knows of a row stands in the embedding of the row's first position, or in the cache.
    """

    def __init__(
        self, vocab_size: int, *, eos_id: int, prompt_length: int, text_length: int
    ) -> None:
        super().__init__()
        self.vocab_size, self.eos_id = vocab_size, eos_id
        self.last = prompt_length + text_length - 1

    @property
    def max_position_embeddings(self) -> int:
        return 1000

    def embed(self, input_ids: Tensor) -> Tensor:
        return torch.zeros(*input_ids.shape, 1)

    def embed_batch(self, batch: Batch) -> Tensor:
        favourites = batch["pixel_values"][:, 0, 0, 0].float()  # (batch,)
        length = batch["input_ids"].shape[1]
        return favourites[:, None, None].expand(-1, length, 1)  # (batch, seq, 1)

    def decode(
        self,
        inputs_embeds: Tensor,
        *,
        attention_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        packed_index: Tensor | None = None,
    ) -> ModelOutput:
        seen = inputs_embeds
        if cache is not None:
            keys = inputs_embeds[:, None]  # (batch, 1, seq, 1)
            seen = cache.append(0, keys=keys, values=keys)[0][:, 0]  # (batch, length, 1)
        favourites = seen[:, :1, 0].long()  # (batch, 1)
        num_new = inputs_embeds.shape[1]
        positions = torch.arange(seen.shape[1])[-num_new:]  # (seq,)
        wanted = torch.where(positions >= self.last, self.eos_id, favourites)  # (batch, seq)
        hidden = functional.one_hot(wanted, self.vocab_size).float() * _SURE
        return ModelOutput(hidden, None)

    def project(self, hidden_states: Tensor) -> Tensor:
        return hidden_states

    def new_cache(self) -> KeyValueCache:
        return KeyValueCache()
