"""Estimate the peak memory of one worker's training step, by part, in closed form.

A step is largest at one of a few moments; the parts are those of the largest one.

Source: the code of `phiray/models` and `phiray/losses.py`; checked by `bench/memory.py`. The form
is that of Korthikanti et al. (arXiv 2205.05198).
Limits: on a GPU what torch has allocated; a CUDA context of 0.5 to 1 GiB comes on top. On a CPU
what a process grows by, its libraries apart. FSDP2 and LoRA are estimates of what phiray does not
train with yet.
"""

from dataclasses import asdict, dataclass, replace
from typing import Literal

from phiray.config.model import PhiConfig
from phiray.planning.activations import Kept, count_kept, tower_working_set
from phiray.planning.given import GivenModel
from phiray.planning.parameters import count_language_model, count_projector, count_tower
from phiray.types import MAX_LOGITS

Strategy = Literal["ddp", "fsdp2", "lora"]
"""`ddp`: each worker holds all; `fsdp2`: weights, gradients and moments are shared out over the
workers; `lora`: only low-rank additions to each matrix of the language model are trained."""

FP32, BF16 = 4, 2
_MOMENTS_BYTES = 2 * FP32
"""AdamW's two moments of a weight."""
_CUDA_WORKSPACE = 32 * 2**20
"""What cuBLAS asks torch for on Hopper GPUs (8 MiB on others)."""
_HEAP_SLACK = 1.4
"""On a CPU, what glibc's heap holds beyond what is in use, as a multiple of activations and logits:
freed blocks in between, which it gives back only from its end. Fitted to eleven kinds of step
(`bench/results/memory.json`), which had 0.8 to 1.9."""
_HEAP_LARGEST = 2**25
"""glibc never keeps larger blocks in its heap (DEFAULT_MMAP_THRESHOLD_MAX on 64 bits)."""
_GATHERED_BLOCKS = 2
"""FSDP2 gathers a block while the one before it computes."""


@dataclass(frozen=True)
class Setup:
    """How a worker computes a micro-batch."""

    trains_language_model: bool
    rows: int
    """Rows of a micro-batch."""
    row_tokens: int
    """Tokens of each, padding included."""
    labels: int
    """Label tokens of the micro-batch."""
    is_bf16: bool = False
    accumulates: bool = False
    """Gradients are there before the backward begins: of another micro-batch, or DDP's."""
    on_gpu: bool = False
    workers: int = 1
    strategy: Strategy = "ddp"
    lora_rank: int = 64
    rollout_labels: int = 0
    """Tokens that scheduled sampling fills at most; 0 without it."""
    caches_features: bool = False
    """The tower does not run: its features are read from a cache."""
    rollout_caches: bool = False
    """The rollout goes token by token, with a cache."""

    @property
    def tokens(self) -> int:
        """Positions of the micro-batch."""
        return self.rows * self.row_tokens

    @property
    def narrow(self) -> int:
        """Bytes of a number in products."""
        return BF16 if self.is_bf16 else FP32


@dataclass(frozen=True)
class Memory:
    """Bytes of one worker at the largest moment of a step."""

    moment: str
    weights: int
    copies: int
    """bf16 copies of weights that autocast makes, or the blocks that FSDP2 has gathered."""
    gradients: int
    optimizer: int
    activations: int
    logits: int
    cache: int
    """Keys and values of a rollout."""
    workspace: int
    """Gradients on their way through a block, and what libraries ask for."""
    heap: int = 0
    """On a CPU, what the C library keeps of freed blocks."""

    @property
    def total(self) -> int:
        """All parts."""
        return sum(value for value in asdict(self).values() if isinstance(value, int))


def estimate_memory(given: GivenModel, setup: Setup) -> Memory:
    """Estimate a step's peak.

    Args:
        given: sizes of the model.
        setup: how the worker computes.
    """
    moments = _moments(given, setup)
    if not setup.on_gpu:
        moments = [_with_heap(memory, given.language_model, setup) for memory in moments]
    return max(moments, key=lambda memory: memory.total)


def _with_heap(memory: Memory, config: PhiConfig, setup: Setup) -> Memory:
    held = memory.logits  # in pieces that are always small enough
    if setup.tokens * config.intermediate_size * FP32 < _HEAP_LARGEST:
        held += memory.activations
    return replace(memory, heap=round(_HEAP_SLACK * held))


def _moments(given: GivenModel, setup: Setup) -> list[Memory]:
    kept = count_kept(
        given,
        rows=setup.rows,
        row_tokens=setup.row_tokens,
        narrow=setup.narrow,
        is_trained=setup.trains_language_model,
    )
    held = _held(given, setup)
    config = given.language_model
    head_weights = config.vocab_size * config.hidden_size
    all_gradients = held.gradients
    base = replace(held, gradients=all_gradients if setup.accumulates else 0)
    piece = _piece(config, setup)
    chosen = FP32 * setup.labels * config.hidden_size
    head = replace(
        base,
        moment="backward of the head",
        gradients=base.gradients + _head_gradient(head_weights, setup, piece=piece),
        activations=kept.total + chosen,
        logits=_logits_bytes(config, piece, setup),
        copies=held.copies + (BF16 * head_weights if setup.is_bf16 else 0),
    )
    top = replace(
        base,
        moment="backward of the last block",
        gradients=base.gradients
        + (0 if setup.accumulates or not setup.trains_language_model else FP32 * head_weights),
        activations=kept.total,
        workspace=held.workspace + kept.working_set + _matrix_gradient(config, setup),
    )
    bottom = replace(
        base,
        moment="end of the backward",
        gradients=all_gradients,
        activations=kept.block + kept.outside,
        workspace=held.workspace + max(kept.working_set, _embedding_gradient(config, setup)),
        copies=0 if setup.strategy != "fsdp2" else held.copies,
    )
    moments = [head, top, bottom]
    if setup.rollout_labels:
        moments.append(_rollout(config, base, kept=kept, setup=setup))
    if given.tower is not None and not setup.caches_features:
        pictures = tower_working_set(given.tower, setup.rows, narrow=setup.narrow)
        moments.append(replace(base, moment="forward of the tower", copies=0, activations=pictures))
    return moments


def _held(given: GivenModel, setup: Setup) -> Memory:
    """Return what is there throughout: weights, moments, all gradients, copies for products."""
    config = given.language_model
    counts = count_language_model(config)
    language, projector, tower = counts.total, _projector(given), _tower(given)
    trained = projector + (language if setup.trains_language_model else 0)
    base_bytes = FP32
    copied = counts.matrices - counts.head  # the head's copies come and go with its pieces
    copies = BF16 * (copied + projector) if setup.is_bf16 else 0
    shares = 1
    match setup.strategy:
        case "lora":
            trained = projector + _lora_weights(config, setup.lora_rank)
            base_bytes, copies = setup.narrow, 0
        case "fsdp2":
            shares = setup.workers
            block = (counts.attention + counts.mlp + counts.moe) // config.num_hidden_layers
            root = counts.embedding + counts.head
            copies = setup.narrow * (_GATHERED_BLOCKS * block + root) if shares > 1 else copies
        case "ddp":
            pass
    frozen = (
        language + projector + tower - trained if setup.strategy != "lora" else language + tower
    )
    return Memory(
        moment="",
        weights=(base_bytes * frozen + FP32 * trained) // shares,
        copies=copies,
        gradients=FP32 * trained // shares,
        optimizer=_MOMENTS_BYTES * trained // shares,
        activations=0,
        logits=0,
        cache=0,
        workspace=_CUDA_WORKSPACE if setup.on_gpu else 0,
    )


def _rollout(config: PhiConfig, base: Memory, *, kept: Kept, setup: Setup) -> Memory:
    per_token = config.num_hidden_layers * 2 * config.hidden_size * setup.narrow
    return replace(
        base,
        moment="rollout",
        # the gold embeddings, the mixed ones, and what a block keeps while it computes
        activations=2 * FP32 * setup.tokens * config.hidden_size + kept.block,
        logits=setup.rollout_labels * config.vocab_size * setup.narrow,
        cache=per_token * setup.tokens if setup.rollout_caches else 0,
    )


def _piece(config: PhiConfig, setup: Setup) -> int:
    """Return the label tokens that the head takes at once (`phiray/losses.py`)."""
    return min(setup.labels, max(1, MAX_LOGITS // config.vocab_size))


def _logits_bytes(config: PhiConfig, piece: int, setup: Setup) -> int:
    """Logarithms of probabilities, and two gradients of the same size on top of them."""
    narrow = BF16 if setup.is_bf16 else 0
    return piece * config.vocab_size * (3 * FP32 + narrow)


def _head_gradient(head_weights: int, setup: Setup, *, piece: int) -> int:
    """Return the gradient of the head's matrix while pieces are added up."""
    if not setup.trains_language_model or setup.strategy == "lora":
        return 0
    buffers = 2 if piece < setup.labels else 1
    return head_weights * (buffers * FP32 + (BF16 if setup.is_bf16 else 0))


def _matrix_gradient(config: PhiConfig, setup: Setup) -> int:
    """Return the gradient of the block's largest matrix before it is added to what is there."""
    if not setup.trains_language_model or setup.strategy == "lora":
        return 0
    largest = config.hidden_size * config.intermediate_size
    return largest * (FP32 + (BF16 if setup.is_bf16 else 0))


def _embedding_gradient(config: PhiConfig, setup: Setup) -> int:
    """Return the embedding's gradient, which is as large as itself, where it must be added."""
    if not (setup.trains_language_model and setup.accumulates) or setup.strategy == "lora":
        return 0
    return FP32 * config.vocab_size * config.hidden_size


def _lora_weights(config: PhiConfig, rank: int) -> int:
    hidden, inner = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * rank * (4 * 2 * hidden + 2 * (hidden + inner))


def _projector(given: GivenModel) -> int:
    if given.projector is None or given.vision is None:
        return 0
    return count_projector(
        given.projector,
        vision_hidden_size=given.vision.hidden_size,
        hidden_size=given.language_model.hidden_size,
    )


def _tower(given: GivenModel) -> int:
    return 0 if given.tower is None else count_tower(given.tower)
