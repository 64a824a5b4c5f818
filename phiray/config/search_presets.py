"""Named settings of both searches, over the stages of the same presets.

Source: ranges around the presets' own values; LLaVA's projectors and the student project's.
Limits: `phi-2` was never run.
"""

from collections.abc import Sequence

from phiray.config.presets import preset
from phiray.config.search import AnySearch, MoeSearch, ProjectorSearch, SearchConfig
from phiray.config.stages import AlignConfig, AnyStageConfig, ScratchConfig

_VALIDATION_FRACTION = 0.1
_CHECKPOINTS = 8
"""Of a trial: at each of them it is measured, and may be stopped."""
_PROJECTORS = (
    "projector.kind=choice(linear, mlp, moe)",
    "projector.num_layers=choice(2, 3)",
)
_EXPERTS = (
    "model.moe.num_experts=choice(2, 4, 8)",
    "model.moe.num_experts_per_token=choice(1, 2)",
    "model.moe.balance_coefficient=loguniform(1e-3, 1e-1)",
)


def search_preset(name: str, kind: str) -> AnySearch:
    """Return the settings of a search in the preset `name`.

    Args:
        name: as of the stages' presets.
        kind: `projector` or `moe`.

    Raises:
        ConfigError: with exit code 2 if there is no such preset.
    """
    if kind == "projector":
        align = _measured(preset(name, "align"))
        assert isinstance(align, AlignConfig)
        if name == "tiny":
            align = align.model_copy(update={"language_model": "phiray-demo/runs/scratch"})
        rates = {"tiny": ("1e-3", "3e-2"), "phi-2": ("1e-4", "5e-3")}[name]
        # of 4 x 4 patches; the 7 x 7 of phi-2's tower have no square in between
        pooling = ["vision.pooling=choice(1, 2)"] if name == "tiny" else []
        search = _search([*_PROJECTORS, *pooling], rates=rates, base=align)
        return ProjectorSearch(search=search, base=align)
    scratch = _measured(preset(name, "scratch"))
    assert isinstance(scratch, ScratchConfig)
    widths = {"tiny": "64, 128, 256", "phi-2": "320, 640"}[name]
    rates = {"tiny": ("1e-3", "2e-2"), "phi-2": ("5e-5", "1e-3")}[name]
    space = (*_EXPERTS, f"model.moe.intermediate_size=choice({widths})")
    return MoeSearch(search=_search(space, rates=rates, base=scratch), base=scratch)


def _search(space: Sequence[str], *, rates: tuple[str, str], base: AnyStageConfig) -> SearchConfig:
    warmup = base.training.warmup_steps
    return SearchConfig(
        space=[
            *space,
            f"training.learning_rate=loguniform({', '.join(rates)})",
            f"training.warmup_steps=choice({warmup // 2}, {warmup}, {2 * warmup})",
        ]
    )


def _measured(config: AnyStageConfig) -> AnyStageConfig:
    """Keep a validation part, and measure on it eight times a run."""
    split = config.data.split.model_copy(update={"validation_fraction": _VALIDATION_FRACTION})
    interval = max(1, config.training.max_steps // _CHECKPOINTS)
    training = config.training.model_copy(update={"checkpoint_every_steps": interval})
    data = config.data.model_copy(update={"split": split})
    return config.model_copy(update={"data": data, "training": training})
