"""What one optimizer step computes: rows, tokens, and model FLOPs.

Source: two FLOPs for each weight and token in a forward, as many again for the gradient of the
input and for that of the weight (PaLM, arXiv 2204.02311, appendix B); attention with half its
square, since it is causal. What is computed twice to save memory is not counted: these are model
FLOPs, as in MFU.
Limits: norms, activations and the optimizer are left out, under 1 % of Phi-2.
"""

from dataclasses import dataclass

from phiray.config.data import ImageDataConfig, TextDataConfig, padded_length
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.config.training import MethodConfig, ScheduledSamplingMethod, StandardMethod
from phiray.errors import ConfigError
from phiray.planning.given import GivenModel
from phiray.planning.parameters import Tower, count_language_model, count_projector

_CAPTION_TOKENS = (14, 24)
"""Mean, and longest in most batches, of COCO's captions under Phi-2's tokenizer, with EOS and BOS:
20,027 of val2017 have 12.0 on average, 99 of 100 at most 22, the longest 57."""
_CONVERSATION_TOKENS = (350, 1024)
"""The same of a conversation with its prompt: an assumption, for LLaVA-Instruct-150K itself was not
at hand."""
_ANSWER_FRACTION = 0.6
"""Share of a conversation's tokens that are answers: an assumption likewise."""


@dataclass(frozen=True)
class Rows:
    """How long rows are, in tokens."""

    mean_tokens: float
    """Image positions included; for time."""
    longest_tokens: int
    """What a batch is padded to; for memory."""
    label_fraction: float
    """Share (0..1) of text tokens that are labels."""
    num_patches: int
    """Positions of the image; 0 for text."""
    assumptions: tuple[str, ...]

    @property
    def mean_labels(self) -> float:
        """Label tokens of a row on average."""
        return (self.mean_tokens - self.num_patches) * self.label_fraction

    @property
    def most_labels(self) -> float:
        """Label tokens of a row as long as the longest."""
        return (self.longest_tokens - self.num_patches) * self.label_fraction


@dataclass(frozen=True)
class Flops:
    """Model FLOPs of one row, forward and backward."""

    language_model: float
    projector: float
    tower: float
    rollout: float
    """Of scheduled sampling; the most that a step can take."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.language_model + self.projector + self.tower + self.rollout


def estimate_rows(config: AnyStageConfig, given: GivenModel, *, longest: int | None) -> Rows:
    """Say how long the rows of a stage are.

    Args:
        config: of the stage.
        given: sizes of its model.
        longest: tokens of the longest row, where the user knows better.

    Raises:
        ConfigError: if it has no room for text beside the image.
    """
    if isinstance(config.data, TextDataConfig):
        length = config.data.sequence_length
        return Rows(length, padded_length(length), 1.0, 0, assumptions=())
    patches = given.vision.num_patches if given.vision else 0
    is_caption = isinstance(config, AlignConfig)
    mean, most = _CAPTION_TOKENS if is_caption else _CONVERSATION_TOKENS
    most_tokens = min(config.data.max_length, longest or patches + most)
    if most_tokens <= patches:
        raise ConfigError(
            f"The longest row has {most_tokens} tokens (data.max_length is {config.data.max_length}"
            f"{f', --longest-row {longest}' if longest else ''}), but an image alone takes "
            f"{patches}. It must hold them and at least one token of text. Raise it."
        )
    mean_tokens = min(patches + mean, most_tokens)
    what = "COCO's captions" if is_caption else "LLaVA-Instruct's conversations (not measured)"
    source = "given" if longest else f"assumed, as of {what}"
    note = (
        f"rows of {mean_tokens} tokens on average and {most_tokens} at most ({source}), of which "
        f"{patches} are the image"
    )
    return Rows(
        mean_tokens,
        padded_length(most_tokens),
        1.0 if is_caption else _ANSWER_FRACTION,
        patches,
        assumptions=(note,),
    )


def count_flops(config: AnyStageConfig, given: GivenModel, rows: Rows) -> Flops:
    """Count the model FLOPs of one row of average length."""
    is_trained = not isinstance(config, AlignConfig)
    forward, attention, head = _language_forward(given, rows)
    # a frozen weight needs no gradient, but what comes before it does; attention has no weights
    passes = 3 if is_trained else 2
    return Flops(
        language_model=passes * (forward + head) + 3 * attention,
        projector=3 * 2 * _projector_weights(given) * rows.num_patches,
        tower=0.0 if caches_features(config) else _tower_forward(given.tower),
        rollout=_num_passes(_method(config)) * (forward + attention + head),
    )


def caches_features(config: AnyStageConfig) -> bool:
    """Say whether steps read what the tower made of their images before."""
    return isinstance(config.data, ImageDataConfig) and config.data.feature_cache is not None


def _language_forward(given: GivenModel, rows: Rows) -> tuple[float, float, float]:
    """Return the FLOPs of a row's forward: products of the blocks, attention, head."""
    config = given.language_model
    counts = count_language_model(config)
    used = counts.attention + counts.mlp
    if config.moe is not None:
        moe = config.moe
        share = 1.0 if moe.kind == "soft" else moe.num_experts_per_token / moe.num_experts
        used += int(counts.moe * share)
    tokens = rows.mean_tokens
    attention = 2 * config.hidden_size * tokens**2 * config.num_hidden_layers
    return 2 * used * tokens, attention, 2 * counts.head * rows.mean_labels


def _projector_weights(given: GivenModel) -> float:
    if given.projector is None or given.vision is None:
        return 0
    return count_projector(
        given.projector,
        vision_hidden_size=given.vision.hidden_size,
        hidden_size=given.language_model.hidden_size,
    )


def _tower_forward(tower: Tower | None) -> float:
    """Return the FLOPs of one image: all blocks but the last, forward only."""
    if tower is None:
        return 0
    width, positions = tower.hidden_size, tower.num_positions
    weights = 4 * width**2 + 2 * width * tower.intermediate_size
    block = 2 * weights * positions + 4 * width * positions**2
    patches = 2 * 3 * tower.patch_size**2 * width * (positions - 1)
    return (tower.num_hidden_layers - 1) * block + patches


def _method(config: AnyStageConfig) -> MethodConfig:
    if isinstance(config, AlignConfig | InstructConfig):
        return config.method
    return StandardMethod()


def _num_passes(method: MethodConfig) -> int:
    """Return how many further forwards a rollout takes at most; token by token makes up one."""
    if not isinstance(method, ScheduledSamplingMethod) or method.end >= 1:
        return 0
    return method.num_passes if method.rollout == "parallel" else 1
