"""What a forward keeps for its backward, tensor by tensor, in bytes.

Each line names a tensor of one block or of the projector, so that it can be read beside
`models/phi.py`, `models/attention.py`, `models/moe.py` and `models/projector.py`.

Source: torch's derivatives: a product keeps its input only if its weight is trained; GELU keeps its
input; fused attention its queries, keys, values and result. Under autocast each product casts its
input for itself, and layer norms run in fp32.
Limits: as `phiray/planning/memory.py`.
"""

from dataclasses import dataclass

from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig
from phiray.planning.given import GivenModel
from phiray.planning.parameters import Tower, projector_widths

_FP32, _INT64 = 4, 8
_BATCH_TENSORS = 4
"""Ids, labels, mask, and the places of labels."""
_PRODUCTS_OF_NORMED = 4
"""Queries, keys, values and the MLP's first layer read the block's normalised input."""
_PIXEL_COPIES = 3
"""Pixels as floats, divided, and normalised."""


@dataclass(frozen=True)
class Kept:
    """Bytes that a micro-batch's forward leaves behind."""

    block: int
    """Of one block."""
    blocks: int
    """Of all of them."""
    outside: int
    """Of embeddings, projector and the last norm."""
    working_set: int
    """What a block's backward takes beside them."""

    @property
    def total(self) -> int:
        """All that is kept when the backward begins."""
        return self.blocks + self.outside


def count_kept(
    given: GivenModel, *, rows: int, row_tokens: int, narrow: int, is_trained: bool
) -> Kept:
    """Count what a micro-batch's forward keeps.

    Args:
        given: sizes of the model.
        rows: of the micro-batch; each has an image, if the model sees.
        row_tokens: positions of a row.
        narrow: bytes of a number in products: 2 under bf16 autocast, or 4.
        is_trained: whether the weights of the language model are.
    """
    config, tokens = given.language_model, rows * row_tokens
    hidden, inner = config.hidden_size, config.intermediate_size
    block = tokens * _block_bytes(config, narrow=narrow, is_trained=is_trained)
    block += _soft_copy_bytes(config, narrow=narrow)
    outside = tokens * (2 * _FP32 * hidden + _BATCH_TENSORS * _INT64)  # last norm: input and result
    if given.vision is not None and given.projector is not None:
        patches = rows * given.vision.num_patches
        size = given.vision.hidden_size
        outside += patches * _projector_bytes(given.projector, size, hidden, narrow=narrow)
        outside += rows * 3 * given.vision.image_size**2  # uint8 pixels
    return Kept(
        block=block,
        blocks=config.num_hidden_layers * block,
        outside=outside,
        working_set=tokens * (2 * inner * narrow + 3 * hidden * _FP32),
    )


def tower_working_set(tower: Tower, images: int, *, narrow: int) -> int:
    """Count what the frozen tower takes while it runs: nothing is kept.

    Args:
        tower: its sizes.
        images: of the micro-batch.
        narrow: bytes of a number in products.
    """
    pixels = _PIXEL_COPIES * _FP32 * 3 * tower.image_size**2
    stream = 2 * _FP32 * tower.hidden_size
    inside = narrow * max(4 * tower.hidden_size, 3 * tower.intermediate_size)
    return images * (pixels + tower.num_positions * (stream + inside))


def _block_bytes(config: PhiConfig, *, narrow: int, is_trained: bool) -> int:
    """Return what a block keeps for one token."""
    hidden, inner = config.hidden_size, config.intermediate_size
    kept = hidden * _FP32 + 2 * _FP32  # the norm's input, with mean and deviation
    kept += 4 * hidden * narrow + config.num_attention_heads * _FP32  # q, k, v, result; logsumexp
    kept += inner * narrow  # GELU's input
    if is_trained:
        copies = _PRODUCTS_OF_NORMED if narrow < _FP32 else 1
        kept += copies * hidden * narrow  # the normalised input
        kept += inner * narrow  # the second layer's input
    if config.moe is not None:
        kept += _moe_bytes(config.moe, hidden, narrow=narrow, is_trained=is_trained)
    return kept


def _moe_bytes(moe: MoeConfig, hidden: int, *, narrow: int, is_trained: bool) -> int:
    router = 4 * moe.num_experts * _FP32  # logits, probabilities, and those of the two losses
    if is_trained:
        router += hidden * _FP32  # the router's input
    if moe.kind == "soft":
        wide = moe.num_experts * moe.intermediate_size * narrow
        # GELU's input and result; their sum by shares and the experts' input for trained weights
        return router + 2 * wide + (wide + hidden * narrow if is_trained else 0)
    slots = moe.num_experts_per_token
    router += slots * (4 * _INT64 + 2 * _FP32)  # choices, order and its inverse; weights
    kept = slots * (moe.intermediate_size + hidden) * narrow  # GELU's input; the results
    if is_trained:
        kept += slots * (hidden + moe.intermediate_size) * narrow  # what both layers read
    return router + kept


def _soft_copy_bytes(config: PhiConfig, *, narrow: int) -> int:
    """Return the transposed experts that einsum makes and keeps; the sparse mixture makes none."""
    if config.moe is None or config.moe.kind != "soft":
        return 0
    return config.moe.num_experts * config.hidden_size * config.moe.intermediate_size * narrow


def _projector_bytes(config: ProjectorConfig, size: int, hidden: int, *, narrow: int) -> int:
    """Return what a projector keeps for one patch."""
    kept = size * _FP32 + hidden * narrow  # features; the embedding until it is spliced in
    if narrow < _FP32:
        kept += size * narrow  # the features' copy
    if config.kind == "mlp":
        widths = projector_widths(config, vision_hidden_size=size, hidden_size=hidden)
        kept += sum(2 * width * narrow for width in widths[1:-1])  # GELU's input and result
    if config.kind == "moe":
        chosen = config.num_experts_per_token or config.num_experts
        kept += chosen * size * narrow * (1 if config.num_experts_per_token is None else 2)
        kept += config.num_residual_layers * 3 * size * narrow
    return kept
