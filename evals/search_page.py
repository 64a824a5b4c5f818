"""The page of a search: its trials, what early stopping did, which settings mattered, the winner.

    write_search_page(summary, dimensions=..., out=...)

Limits: no script, no request to anywhere; drawings are inline SVG, as in a report of runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import JsonValue

from phiray.checkpoints.files import error_from_write, write_text
from phiray.config.search import Dimension
from phiray.evals.charts import Curve, draw_curves
from phiray.evals.importance import MIN_TRIALS, explained_fraction
from phiray.evals.parallel import AxisData, ParallelChart, draw_parallel
from phiray.evals.search_results import SearchSummary, TrialSummary

TEMPLATE = "search.html.jinja"


@dataclass(frozen=True)
class Importance:
    """One setting and the share of the difference that goes with it."""

    key: str
    explained_fraction: float


@dataclass(frozen=True)
class FirstRung:
    """The earliest step at which every trial was measured: where all of them compare."""

    step: int
    trials: list[TrialSummary]
    values: list[float]


def write_search_page(
    summary: SearchSummary,
    *,
    dimensions: Sequence[Dimension],
    base: dict[str, JsonValue],
    out: Path,
) -> None:
    """Write the page.

    Args:
        summary: what the search found.
        dimensions: what it varied.
        base: the values of these settings in `base`, by their path.
        out: the HTML file.

    Raises:
        CheckpointError: if it cannot be written (73, 74, 77).
    """
    rung = first_rung(summary.trials)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(TEMPLATE).render(
        summary=summary,
        best=summary.trials[summary.best],
        num_stopped=sum(trial.ending == "stopped" for trial in summary.trials),
        chart=draw_curves("Validation", _curves(summary.trials)),
        rung=rung,
        parallel=_parallel(rung, dimensions, base, best=summary.best) if rung else None,
        importances=find_importances(rung, dimensions, base) if rung else [],
    )
    try:
        write_text(out, page)
    except OSError as error:
        raise error_from_write(error, what="The page of the search", path=out) from error


def first_rung(trials: Sequence[TrialSummary]) -> FirstRung | None:
    """Find where all trials that ran compare; None if there is no such step, or one trial."""
    run = [trial for trial in trials if trial.curve]
    common = set.intersection(*({step for step, _ in trial.curve} for trial in run)) if run else ()
    if not common or len(run) < 2:
        return None
    step = min(common)
    return FirstRung(step, run, [dict(trial.curve)[step] for trial in run])


def find_importances(
    rung: FirstRung, dimensions: Sequence[Dimension], base: dict[str, JsonValue]
) -> list[Importance]:
    """Say for each setting how much goes with it, the largest first; nothing of too few trials."""
    if len(rung.trials) < MIN_TRIALS:
        return []
    found = [
        Importance(dimension.key, _explained(rung, dimension, base)) for dimension in dimensions
    ]
    return sorted(found, key=lambda item: -item.explained_fraction)


def _explained(rung: FirstRung, dimension: Dimension, base: dict[str, JsonValue]) -> float:
    pairs = list(zip(_values(rung, dimension.key, base), rung.values, strict=True))
    if dimension.draw != "choice":  # a trial in an empty group has no number to be ranked by
        pairs = [(setting, value) for setting, value in pairs if setting is not None]
    settings, values = [setting for setting, _ in pairs], [value for _, value in pairs]
    return explained_fraction(settings, values, is_drawn=dimension.draw != "choice")


def _values(rung: FirstRung, key: str, base: dict[str, JsonValue]) -> list[JsonValue]:
    return [trial.changes.get(key, base[key]) for trial in rung.trials]


def _parallel(
    rung: FirstRung,
    dimensions: Sequence[Dimension],
    base: dict[str, JsonValue],
    *,
    best: int,
) -> ParallelChart:
    axes = []
    for dimension in dimensions:
        values = _values(rung, dimension.key, base)
        is_number = dimension.draw != "choice" and None not in values
        is_log = is_number and dimension.draw == "loguniform"
        title = dimension.key.rpartition(".")[2]
        axes.append(AxisData(title, values, is_log=is_log, is_number=is_number))
    axes.append(AxisData(f"nats at step {rung.step}", list(rung.values), is_number=True))
    return draw_parallel(
        axes,
        [f"trial {trial.number}" for trial in rung.trials],
        kinds=[
            "best"
            if trial.number == best
            else "complete"
            if trial.ending == "complete"
            else "stopped"
            for trial in rung.trials
        ],
    )


def _curves(trials: Sequence[TrialSummary]) -> list[Curve]:
    return [
        Curve(f"trial {trial.number}", [s for s, _ in trial.curve], [v for _, v in trial.curve])
        for trial in trials
        if trial.curve
    ]
