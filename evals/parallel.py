"""Coordinates of a parallel-coordinates drawing: one axis a setting, one line a trial.

Source: Inselberg 1985; the last axis is the figure that trials are judged by.
Limits: the template turns it into inline SVG; labels of many choices may touch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from phiray.evals.charts import Tick

_WIDTH, _HEIGHT = 720.0, 300.0
_SIDE, _TOP, _BOTTOM = 70.0, 58.0, 24.0


@dataclass(frozen=True)
class AxisData:
    """One setting over all trials."""

    title: str
    values: Sequence[JsonValue]
    is_log: bool = False
    """Numbers on a logarithmic axis."""
    is_number: bool = False
    """Numbers in their own order; else words in the order of their first appearance."""


@dataclass(frozen=True)
class ParallelAxis:
    """An axis with its labels."""

    title: str
    x: float
    ticks: list[Tick]


@dataclass(frozen=True)
class ParallelLine:
    """One trial."""

    name: str
    kind: str
    """`best`, `complete` or `stopped`: how it is drawn."""
    points: str


@dataclass(frozen=True)
class ParallelChart:
    """The drawing."""

    width: float
    height: float
    top: float
    bottom: float
    axes: list[ParallelAxis]
    lines: list[ParallelLine]


def draw_parallel(
    axes: Sequence[AxisData], names: Sequence[str], *, kinds: Sequence[str]
) -> ParallelChart:
    """Lay trials out over axes.

    Args:
        axes: at least two, each with a value for every trial.
        names: of the trials.
        kinds: of the trials, as in `ParallelLine`.
    """
    gap = (_WIDTH - 2 * _SIDE) / (len(axes) - 1)
    places = [_places(axis) for axis in axes]
    lines = [
        ParallelLine(
            name,
            kind,
            " ".join(
                f"{_SIDE + gap * index:.1f},{place[trial]:.1f}"
                for index, place in enumerate(places)
            ),
        )
        for trial, (name, kind) in enumerate(zip(names, kinds, strict=True))
    ]
    drawn = [
        ParallelAxis(axis.title, _SIDE + gap * index, _ticks(axis, place))
        for index, (axis, place) in enumerate(zip(axes, places, strict=True))
    ]
    # the best trial is drawn last, over the others
    lines.sort(key=lambda line: ("stopped", "complete", "best").index(line.kind))
    return ParallelChart(_WIDTH, _HEIGHT, _TOP, _HEIGHT - _BOTTOM, drawn, lines)


def _places(axis: AxisData) -> list[float]:
    if axis.is_number:
        raw = [float(str(value)) for value in axis.values]
        numbers = _logarithms(raw) if axis.is_log else raw
    else:
        words = _ordered(axis.values)
        numbers = [float(words.index(str(value))) for value in axis.values]
    low, high = min(numbers), max(numbers)
    span = high - low or 1.0
    return [_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (n - low) / span for n in numbers]


def _logarithms(values: Sequence[float]) -> list[float]:
    """Return logarithms; 0, as a setting's base may be, lies below all that were drawn."""
    lowest = min((value for value in values if value > 0), default=1.0) / 10
    return [math.log(max(value, lowest)) for value in values]


def _ordered(values: Sequence[JsonValue]) -> list[str]:
    """Return each choice once: numbers by size, words as they came."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        return [str(number) for number in sorted(set(numbers))]
    return list(dict.fromkeys(str(value) for value in values))


def _ticks(axis: AxisData, places: Sequence[float]) -> list[Tick]:
    """Label every word, or the ends of a range of numbers."""
    by_label = {_label(value): place for value, place in zip(axis.values, places, strict=True)}
    ticks = [Tick(place, label) for label, place in by_label.items()]
    if not axis.is_number:
        return ticks
    ticks.sort(key=lambda tick: tick.place)
    return [ticks[0], ticks[-1]] if len(ticks) > 1 else ticks


def _label(value: JsonValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
