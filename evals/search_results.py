"""What a search found, as plain data: trials, the best one, and what it is worth on new seeds.

Limits: written by `phiray tune`; nothing here runs anything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue


@dataclass(frozen=True)
class TrialSummary:
    """What became of one trial."""

    number: int
    changes: Mapping[str, JsonValue]
    """Settings of `base` by their path; none for trial 0."""
    ending: str
    """`complete`, `stopped`, `failed`; `cut off` or `not run` where a limit came first."""
    steps: int
    """Steps that were trained."""
    curve: Sequence[tuple[int, float]]
    """Step and validation nats per label token, at each checkpoint."""

    @property
    def validation_nats(self) -> float | None:
        """The last figure; None if there is none."""
        return self.curve[-1][1] if self.curve else None

    @property
    def told_changes(self) -> str:
        """The changes in words."""
        return ", ".join(f"{key}={value}" for key, value in self.changes.items()) or "base"


@dataclass(frozen=True)
class SeedResult:
    """What both settings score on held-out data with one seed."""

    seed: int
    base: float
    best: float


@dataclass(frozen=True)
class Confirmation:
    """The best settings against `base`, each trained anew on seeds that chose nothing."""

    suite: str
    metric: str
    unit: str
    higher_is_better: bool
    results: Sequence[SeedResult]
    difference: float
    """Mean over seeds of best minus base."""
    ci95: tuple[float, float]
    """By Student's t over the seeds."""

    @property
    def verdict(self) -> str:
        """What the interval says, in a sentence."""
        low, high = self.ci95
        if low <= 0 <= high:
            return "No difference that these seeds could show."
        is_better = (self.difference > 0) == self.higher_is_better
        return f"The best trial's settings are {'better' if is_better else 'worse'} than base."


@dataclass(frozen=True)
class SearchSummary:
    """What a search found; it stands in `search.json`."""

    name: str
    tune: str
    trials: Sequence[TrialSummary]
    best: int
    """Number of the trial with the lowest validation figure at its last step."""
    max_steps: int
    seconds: float
    """Over all starts of the search that ran to their end, without the confirmation; may differ
    between two runs."""
    confirmation: Confirmation | None = None
    """None where `base` itself was best, or no seeds were asked for."""

    @property
    def steps_spent(self) -> int:
        """Steps over all trials."""
        return sum(trial.steps for trial in self.trials)

    @property
    def spent_fraction(self) -> float:
        """Share (0..1) of the steps that all trials would take without being stopped."""
        return self.steps_spent / (self.max_steps * len(self.trials))


def read_summary(path: Path) -> SearchSummary | None:
    """Read what a search wrote before; None if it did not, or it cannot be read."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        trials = [
            TrialSummary(**trial | {"curve": [(step, nats) for step, nats in trial["curve"]]})
            for trial in raw.pop("trials")
        ]
        found = raw.pop("confirmation")
        if found is not None:
            results = [SeedResult(**result) for result in found.pop("results")]
            ci95 = tuple(found.pop("ci95"))
            found = Confirmation(**found, results=results, ci95=ci95)
        return SearchSummary(**raw, trials=trials, confirmation=found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # it is made anew from the trials
