"""Count parameters in closed form: language model, projector, vision tower.

Source: the shapes of `phiray/models`; a test holds each count equal to the module's on torch's meta
device.
Limits: plain ViT towers; buffers (rotary angles, router biases) are no parameters.
"""

from dataclasses import dataclass
from itertools import pairwise

from phiray.config.model import MoeConfig, PhiConfig, ProjectorConfig


@dataclass(frozen=True)
class LanguageModelParameters:
    """Parameters of a language model by part."""

    embedding: int
    attention: int
    mlp: int
    moe: int
    norms: int
    head: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.embedding + self.attention + self.mlp + self.moe + self.norms + self.head

    @property
    def matrices(self) -> int:
        """Those that products read, biases and norms apart: what bf16 autocast copies."""
        return self.attention + self.mlp + self.moe + self.head


@dataclass(frozen=True)
class Tower:
    """The sizes of a ViT of open_clip."""

    image_size: int
    patch_size: int
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    embed_dim: int
    """Width of CLIP's joint space, into which the tower's last layer maps."""

    @property
    def num_positions(self) -> int:
        """Patches and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1


def count_language_model(config: PhiConfig) -> LanguageModelParameters:
    """Count the parameters of Phi, or of LitGPT's model of the same settings."""
    hidden, layers = config.hidden_size, config.num_hidden_layers
    return LanguageModelParameters(
        embedding=config.vocab_size * hidden,
        attention=layers * 4 * _linear(hidden, hidden),
        mlp=layers
        * (_linear(hidden, config.intermediate_size) + _linear(config.intermediate_size, hidden)),
        moe=layers * _moe(config.moe, hidden),
        norms=(layers + 1) * 2 * hidden,
        head=_linear(hidden, config.vocab_size),
    )


def count_projector(config: ProjectorConfig, *, vision_hidden_size: int, hidden_size: int) -> int:
    """Count the parameters of a projector."""
    match config.kind:
        case "linear":
            return _linear(vision_hidden_size, hidden_size)
        case "mlp":
            widths = projector_widths(
                config, vision_hidden_size=vision_hidden_size, hidden_size=hidden_size
            )
            return sum(_linear(narrow, wide) for narrow, wide in pairwise(widths))
        case "moe":
            square = _linear(vision_hidden_size, vision_hidden_size)
            return (
                _linear(vision_hidden_size, config.num_experts)
                + config.num_experts * square
                + config.num_residual_layers * 2 * square
                + _linear(vision_hidden_size, hidden_size)
            )


def projector_widths(
    config: ProjectorConfig, *, vision_hidden_size: int, hidden_size: int
) -> list[int]:
    """Return the widths that the layers of an `mlp` projector go through."""
    inner = config.intermediate_size or hidden_size
    return [vision_hidden_size, *[inner] * (config.num_layers - 1), hidden_size]


def count_tower(tower: Tower) -> int:
    """Count the parameters of a tower as a checkpoint holds it, its unused last layer included."""
    width = tower.hidden_size
    block = (
        _linear(width, 3 * width)
        + _linear(width, width)
        + _linear(width, tower.intermediate_size)
        + _linear(tower.intermediate_size, width)
        + 2 * 2 * width  # two norms
    )
    outside = (
        3 * tower.patch_size**2 * width  # patches, without a bias
        + width  # class token
        + tower.num_positions * width
        + 2 * 2 * width  # norms before and after the blocks
        + width * tower.embed_dim
    )
    return tower.num_hidden_layers * block + outside


def _moe(moe: MoeConfig | None, hidden: int) -> int:
    if moe is None:
        return 0
    return moe.num_experts * (hidden + 2 * hidden * moe.intermediate_size)


def _linear(width_in: int, width_out: int) -> int:
    return width_in * width_out + width_out
