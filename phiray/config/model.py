"""Settings of the models: Phi, its mixture of experts, the vision tower, the projector.

Source: microsoft/phi-2 config.json for the language model; open_clip model configs for the tower.
Limits: sizes only; nothing here builds a weight.
"""

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from phiray.config.base import Config

_VOCABULARY_STEP = 64
"""Matrix products like row counts that it divides."""


def rounded_vocab_size(num_ids: int) -> int:
    """Return the rows that a model of its own should have for a tokenizer of `num_ids`."""
    return -(-num_ids // _VOCABULARY_STEP) * _VOCABULARY_STEP


class MoeConfig(Config):
    """A sparse mixture of experts after the MLP of each block: `m + moe(m)`."""

    kind: Literal["sparse", "soft"] = "sparse"
    """`sparse` routes each token to its top experts; `soft` mixes all of them (a baseline)."""
    num_experts: int = Field(default=4, ge=1)
    """Experts per block."""
    num_experts_per_token: int = Field(default=2, ge=1)
    """Experts that each token is sent to."""
    intermediate_size: int = Field(default=256, ge=1)
    """Width inside one expert."""
    balance_coefficient: float = Field(default=0.01, ge=0)
    """Weight of the load-balance loss (Switch Transformer, arXiv 2101.03961)."""
    z_coefficient: float = Field(default=0.001, ge=0)
    """Weight of the router z-loss (ST-MoE, arXiv 2202.08906)."""
    bias_update_rate: float = Field(default=0.0, ge=0)
    """Step of the balancing bias that needs no loss (arXiv 2408.15664); 0 switches it off."""

    @model_validator(mode="after")
    def _check_top_k(self) -> "MoeConfig":
        if self.num_experts_per_token > self.num_experts:
            raise ValueError(
                f"num_experts_per_token is {self.num_experts_per_token}, but num_experts is "
                f"{self.num_experts}. It must be between 1 and {self.num_experts}. Lower it."
            )
        return self

    @model_validator(mode="after")
    def _check_bias(self) -> "MoeConfig":
        if self.kind == "soft" and self.bias_update_rate > 0:
            raise ValueError(
                f"bias_update_rate is {self.bias_update_rate}, but kind is soft: the bias moves "
                "which experts are chosen, and soft takes all. Set it to 0, or take kind=sparse."
            )
        return self


class PhiConfig(Config):
    """The Phi-2 architecture in any size."""

    vocab_size: int = Field(default=51_200, ge=2)
    """Rows of the embedding; ids beyond the tokenizer's stay free (Phi-2: 51,200 for 50,295)."""
    hidden_size: int = Field(default=2560, ge=1)
    """Width of the residual stream."""
    intermediate_size: int = Field(default=10_240, ge=1)
    """Width inside the MLP."""
    num_hidden_layers: int = Field(default=32, ge=1)
    """Blocks."""
    num_attention_heads: int = Field(default=32, ge=1)
    """Heads; Phi-2 has as many key/value heads."""
    max_position_embeddings: int = Field(default=2048, ge=8)
    """Longest sequence."""
    partial_rotary_factor: float = Field(default=0.4, gt=0, le=1)
    """Share (0..1) of each head that is rotated; head size times this must be even."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    """Base of the rotary angles."""
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    """Added to the variance in layer norms."""
    initializer_range: float = Field(default=0.02, gt=0)
    """Standard deviation of random weights."""
    moe: MoeConfig | None = None
    """Mixture of experts after each MLP; none is the dense Phi-2."""

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_dim(self) -> int:
        """Channels of a head that are rotated."""
        return int(self.partial_rotary_factor * self.head_dim)

    @model_validator(mode="after")
    def _check_heads(self) -> "PhiConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, which num_attention_heads "
                f"({self.num_attention_heads}) does not divide. Change one of them."
            )
        if self.rotary_dim % 2 or self.rotary_dim == 0:
            raise ValueError(
                f"partial_rotary_factor {self.partial_rotary_factor} rotates {self.rotary_dim} of "
                f"{self.head_dim} channels; the number must be even and above 0. Change the factor "
                "or the number of heads."
            )
        return self


class VisionConfig(Config):
    """The frozen CLIP tower, through open_clip."""

    model: str = "ViT-B-32-quickgelu"
    """open_clip model name, or `custom` for a folder with `open_clip_config.json`."""
    weights: str = "openai"
    """open_clip pretrained tag, or a `.safetensors` file, or a folder with both files."""
    image_size: int = Field(default=224, ge=8)
    """Side of the square input, in pixels."""
    patch_size: int = Field(default=32, ge=1)
    """Side of one patch, in pixels."""
    hidden_size: int = Field(default=768, ge=1)
    """Width of the tower, that is of each patch feature."""
    pooling: int = Field(default=1, ge=1)
    """Side of the square of neighbouring patches whose features are averaged into one; 1 keeps them
    all. An image then takes fewer positions of a row (as in DeCo, arXiv 2405.20985)."""

    @property
    def num_patches(self) -> int:
        """Patch features per image after pooling, without the class token."""
        return (self.image_size // self.patch_size // self.pooling) ** 2

    @model_validator(mode="after")
    def _check_patches(self) -> "VisionConfig":
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size is {self.image_size}, which patch_size ({self.patch_size}) does not "
                "divide. Take the two numbers from the tower's own config."
            )
        side = self.image_size // self.patch_size
        if side % self.pooling:
            divisors = [number for number in range(1, side + 1) if side % number == 0]
            raise ValueError(
                f"pooling is {self.pooling}, but the tower has {side} x {side} patches. It must "
                f"divide {side}. Take one of {', '.join(map(str, divisors))}."
            )
        return self


class ProjectorConfig(Config):
    """What maps patch features into the language model's embedding space."""

    kind: Literal["linear", "mlp", "moe"] = "mlp"
    """`linear`; `mlp`: LLaVA's two layers; `moe`: experts and residual layers."""
    num_layers: int = Field(default=2, ge=1)
    """Linear layers of `mlp`, with a GELU between two of them (two in LLaVA-1.5)."""
    intermediate_size: int | None = Field(default=None, ge=1)
    """Width between the layers of `mlp`; none takes the language model's (as in LLaVA)."""
    num_experts: int = Field(default=6, ge=1)
    """Experts of `moe` (six in the student project)."""
    num_experts_per_token: int | None = Field(default=None, ge=1)
    """Top experts per patch in `moe`; none mixes all of them, as the student project did."""
    num_residual_layers: int = Field(default=4, ge=0)
    """Residual layers of `moe` (four in the student project)."""

    @model_validator(mode="after")
    def _check_top_k(self) -> "ProjectorConfig":
        top = self.num_experts_per_token
        if top is not None and top > self.num_experts:
            raise ValueError(
                f"num_experts_per_token is {top}, but num_experts is {self.num_experts}. It must "
                f"be between 1 and {self.num_experts}. Lower it."
            )
        return self


MODEL_FILE = "model.json"
"""A checkpoint's description of its model."""


class ModelDescription(Config):
    """What a checkpoint needs to build its model again, without any other file."""

    kind: Literal["phi", "litgpt", "vision-language"]
    """Which of phiray's models it is."""
    language_model: PhiConfig
    """Architecture of the language model."""
    vision: VisionConfig | None = None
    """The tower of a vision-language model."""
    vision_model: dict[str, JsonValue] | None = None
    """open_clip's own `model_cfg` of that tower."""
    projector: ProjectorConfig | None = None
    """The projector of a vision-language model."""
    image_token_id: int | None = None
    """The id that stands for one patch in `input_ids`."""
