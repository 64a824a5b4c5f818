"""Settings of a search: what is varied, how trials are drawn, when one is stopped early.

Source: Ray Tune's names for the draws (`choice`, `uniform`, `loguniform`); ASHA (arXiv 1810.05934).
Limits: two searches, each over one stage; trials are judged by the validation part, never by what
is held out.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from phiray.config.base import Config
from phiray.config.stages import AlignConfig, RunConfig, ScratchConfig
from phiray.config.yaml_text import parse_yaml
from phiray.errors import ConfigError

SEARCHES = ("projector", "moe")
Draw = Literal["choice", "uniform", "loguniform"]
MAX_TRIALS = 1000
"""More are no search that ends."""
_DIMENSION = re.compile(r"\s*([a-z0-9_.]+)\s*=\s*(choice|uniform|loguniform)\((.*)\)\s*")
_UNSEARCHED = (
    "stage",
    "run.",
    "data.",
    "cluster.",
    "training.max_steps",
    "training.max_validation_rows",
    "training.checkpoint_every_steps",
    "training.keep_checkpoints",
    "training.log_row_ids",
)
"""Settings of which all trials must have the same."""
_FORM = (
    "KEY=choice(A, B, ...), KEY=uniform(LOW, HIGH) or KEY=loguniform(LOW, HIGH), where KEY is a "
    "setting of `base`, such as training.learning_rate"
)


@dataclass(frozen=True)
class Dimension:
    """One setting that a search varies."""

    key: str
    """Path below `base`."""
    draw: Draw
    values: tuple[JsonValue, ...]
    """What `choice` chooses from; else lowest and highest."""


class SearchConfig(Config):
    """How trials are drawn and judged."""

    space: list[str]
    """What is varied, one setting of `base` an item: `KEY=choice(A, B)`, `KEY=uniform(LOW, HIGH)`
    or `KEY=loguniform(LOW, HIGH)`, as in Ray Tune."""
    algorithm: Literal["random", "grid", "optuna"] = "random"
    """`random` draws num_trials; `grid` takes every combination of the choices; `optuna` draws each
    trial from what those before it measured (TPE; needs the extra `phiray[optuna]`)."""
    num_trials: int = Field(default=8, ge=1, le=MAX_TRIALS)
    """Trials of `random` and `optuna`, the first of which is `base` unchanged."""
    scheduler: Literal["asha", "median", "none"] = "asha"
    """`asha` stops a trial that is not among the best at a rung; `median` one below the median of
    the others; `none` lets all run to their end."""
    grace_steps: int | None = Field(default=None, ge=1)
    """Steps of a trial before it may be stopped: ASHA's first rung. None takes max_steps /
    reduction_factor squared, so that there are two rungs."""
    reduction_factor: float = Field(default=3.0, gt=1, le=100)
    """Of the trials at a rung of ASHA, the best 1 / reduction_factor go on (3 as in Hyperband,
    arXiv 1603.06560)."""
    max_concurrent: int = Field(default=1, ge=1)
    """Trials at the same time."""
    max_seconds: float | None = Field(default=None, gt=0)
    """No trial is begun, and none goes on, after so long; none sets no limit. The confirmation
    comes on top."""
    max_label_tokens: int | None = Field(default=None, ge=1)
    """The same for the tokens learnt from, over all trials."""
    confirm_seeds: int = Field(default=3, ge=0, le=10)
    """Seeds on which the winner and `base` are trained anew, and compared on held-out data; below
    2 there is no interval, and none is trained."""

    @property
    def dimensions(self) -> list[Dimension]:
        """What `space` says."""
        return [_parse(item) for item in self.space]

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: list[str]) -> list[str]:
        if not space:
            raise ValueError(f"space is empty. It must vary at least one setting: {_FORM}.")
        keys = [_parse(item).key for item in space]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise ValueError(f"space varies {twice[0]} twice. Keep one of them.")
        for key in keys:
            if key.startswith(_UNSEARCHED):
                raise ValueError(
                    f"space varies {key}, by which trials could no longer be compared: it says "
                    "where they lie, or what and when they are measured. Take it out."
                )
        return space

    @model_validator(mode="after")
    def _check_grid(self) -> "SearchConfig":
        size = math.prod(len(item.values) for item in self.dimensions)
        if self.algorithm == "grid" and size > MAX_TRIALS:
            raise ValueError(
                f"space has {size} combinations. A grid takes at most {MAX_TRIALS}. Take some of "
                "the choices out, or algorithm=random."
            )
        drawn = [item.key for item in self.dimensions if item.draw != "choice"]
        if self.algorithm == "grid" and drawn:
            raise ValueError(
                f"algorithm is grid, but {drawn[0]} has no list of values. A grid takes choices "
                f"alone. Write {drawn[0]}=choice(...), or take algorithm=random."
            )
        return self


class ProjectorSearch(Config):
    """Search the projector between a frozen CLIP and a frozen language model."""

    tune: Literal["projector"] = "projector"
    """This search's name."""
    run: RunConfig = RunConfig(name="tune-projector")
    """Name and place of the search, and seed of the draws."""
    search: SearchConfig
    """Space, draws, early stopping."""
    base: AlignConfig
    """What a trial changes; each trial is a run of this stage."""

    @model_validator(mode="after")
    def _check_search(self) -> "ProjectorSearch":
        _check_base(self.search, self.base)
        return self


class MoeSearch(Config):
    """Search the mixture of experts of a language model trained from scratch."""

    tune: Literal["moe"] = "moe"
    """This search's name."""
    run: RunConfig = RunConfig(name="tune-moe")
    """Name and place of the search, and seed of the draws."""
    search: SearchConfig
    """Space, draws, early stopping."""
    base: ScratchConfig
    """What a trial changes; each trial is a run of this stage."""

    @model_validator(mode="after")
    def _check_search(self) -> "MoeSearch":
        _check_base(self.search, self.base)
        return self


AnySearch = ProjectorSearch | MoeSearch
SEARCH_CLASSES: dict[str, type[AnySearch]] = {"projector": ProjectorSearch, "moe": MoeSearch}


def grace_steps(search: SearchConfig, *, max_steps: int) -> int:
    """Return the steps before a trial may be stopped, rounded up."""
    if search.grace_steps is not None:
        return search.grace_steps
    return -int(-max_steps // search.reduction_factor**2)


def _parse(item: str) -> Dimension:
    found = _DIMENSION.fullmatch(item)
    if found is None:
        raise ValueError(f"space has {item!r}, which varies nothing. It must be {_FORM}.")
    key, draw, inside = found.groups()
    try:
        values = parse_yaml(f"[{inside}]", origin=item).value
    except ConfigError as error:
        raise ValueError(error.message) from error
    assert isinstance(values, list), "it stands in brackets"
    kinds: dict[str, Draw] = {
        "choice": "choice",
        "uniform": "uniform",
        "loguniform": "loguniform",
    }
    _check_values(item, kinds[draw], values)
    return Dimension(key, kinds[draw], tuple(values))


def _check_values(item: str, draw: Draw, values: Sequence[JsonValue]) -> None:
    if draw == "choice":
        if not values:
            raise ValueError(f"space has {item!r}, which offers nothing. Name at least one value.")
        shown = [repr(value) for value in values]
        if len(set(shown)) < len(shown):
            raise ValueError(f"space has {item!r}, which offers a value twice. Keep one of them.")
        return
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"space has {item!r}. {draw} takes finite numbers. Correct it.")
    if len(numbers) != 2 or len(values) != 2 or numbers[0] >= numbers[1]:
        raise ValueError(f"space has {item!r}. {draw} takes two numbers, the lower one first.")
    if draw == "loguniform" and numbers[0] <= 0:
        raise ValueError(f"space has {item!r}. loguniform takes numbers above 0. Raise the first.")


def _check_base(search: SearchConfig, base: AlignConfig | ScratchConfig) -> None:
    if base.data.split.validation_fraction == 0:
        raise ValueError(
            "base.data.split.validation_fraction is 0, so nothing could tell a good trial from a "
            "bad one but held-out data, which must not. Set it, e.g. to 0.1."
        )
    max_steps = base.training.max_steps
    grace = grace_steps(search, max_steps=max_steps)
    if grace >= max_steps and search.scheduler != "none":
        raise ValueError(
            f"search.grace_steps is {grace}, but base.training.max_steps is {max_steps}: no trial "
            "would ever be stopped. Lower the first, or take scheduler=none."
        )
