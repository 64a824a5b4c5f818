"""What each stage trains, as one function of the stage.

Source: the two stages of LLaVA (arXiv 2304.08485): first the projector, then the language model
too.
Limits: whole parts only; CLIP is never trained.
"""

from torch import nn

from phiray.errors import ConfigError

TRAINED_PARTS: dict[str, tuple[str, ...]] = {
    "scratch": ("",),
    "litgpt": ("",),
    "align": ("projector.",),
    "instruct": ("projector.", "language_model."),
}
"""Prefixes of the parameter names that a stage trains; an empty one is every name."""


def freeze_for_stage(model: nn.Module, stage: str) -> None:
    """Ask gradients of what the stage trains, and of nothing else.

    Raises:
        ConfigError: if the stage is unknown, or would train nothing in this model.
    """
    if stage not in TRAINED_PARTS:
        raise ConfigError(
            f"The stage is {stage!r}. Expected one of {', '.join(TRAINED_PARTS)}. Correct it."
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED_PARTS[stage]))
    if not trainable_names(model):
        raise ConfigError(
            f"The stage {stage!r} trains {', '.join(TRAINED_PARTS[stage])}, but this model has "
            "no such part. Give it a vision-language model."
        )


def trainable_names(model: nn.Module) -> list[str]:
    """List the names of all parameters that have gradients, in the model's order."""
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]
