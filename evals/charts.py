"""Coordinates of the report's drawings; the template turns them into inline SVG.

Limits: two kinds, curves and intervals; colours belong to the page, so that it has light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 560.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 12.0, 34.0
_NUM_TICKS = 5
_ENOUGH = 0.75
"""A step may be this much shorter than the wanted one: rather six ticks than two."""
_MAX_POINTS = 240
"""Points of one drawn curve; longer ones are averaged in equal pieces."""


@dataclass(frozen=True)
class Curve:
    """One run's values over its steps."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Tick:
    """A number on an axis and where it stands."""

    place: float
    label: str


@dataclass(frozen=True)
class DrawnCurve:
    """A curve as an SVG polyline."""

    name: str
    colour: int
    """Index into the page's palette."""
    points: str


@dataclass(frozen=True)
class CurveChart:
    """A chart of curves with its axes."""

    title: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    curves: list[DrawnCurve]


@dataclass(frozen=True)
class Whisker:
    """An interval on a line from 0 to 100, with its value and, where it fits, a zero."""

    low: float
    high: float
    value: float
    zero: float | None


def draw_curves(title: str, curves: Sequence[Curve]) -> CurveChart:
    """Lay curves out on common axes.

    Args:
        title: above the chart.
        curves: each with at least one step.
    """
    smooth = [(curve.name, *_thin(curve.steps, curve.values)) for curve in curves]
    last = max(max(steps) for _, steps, _ in smooth)
    values = [value for _, _, curve in smooth for value in curve]
    low, high = _padded(min(values), max(values))
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + inner_width * step / last

    def y(value: float) -> float:
        return _TOP + inner_height * (high - value) / (high - low)

    drawn = [
        DrawnCurve(
            name,
            colour,
            " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(steps, curve, strict=True)),
        )
        for colour, (name, steps, curve) in enumerate(smooth)
    ]
    return CurveChart(
        title=title,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        x_ticks=[Tick(x(step), f"{step:,.0f}") for step in _round_numbers(0.0, last)],
        y_ticks=[Tick(y(value), f"{value:g}") for value in _round_numbers(low, high)],
        curves=drawn,
    )


def draw_whiskers(intervals: Sequence[tuple[float, float, float]], *, zero: bool) -> list[Whisker]:
    """Lay intervals out on one common line.

    Args:
        intervals: low, value and high of each.
        zero: the line must show zero, as for differences.
    """
    ends = [end for interval in intervals for end in interval] + ([0.0] if zero else [])
    low, high = _padded(min(ends), max(ends))

    def place(value: float) -> float:
        return round(100.0 * (value - low) / (high - low), 2)

    return [
        Whisker(place(lower), place(upper), place(value), place(0.0) if zero else None)
        for lower, value, upper in intervals
    ]


def _padded(low: float, high: float) -> tuple[float, float]:
    """Leave some room at both ends; a single value gets room around it."""
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - room, high + room


def _thin(steps: Sequence[int], values: Sequence[float]) -> tuple[list[float], list[float]]:
    size = math.ceil(len(steps) / _MAX_POINTS)
    pieces = [slice(start, start + size) for start in range(0, len(steps), size)]
    return (
        [sum(steps[piece]) / len(steps[piece]) for piece in pieces],
        [sum(values[piece]) / len(values[piece]) for piece in pieces],
    )


def _round_numbers(low: float, high: float) -> list[float]:
    """Return about five round numbers within an interval."""
    raw = (high - low) / _NUM_TICKS
    magnitude = 10.0 ** math.floor(math.log10(raw))
    steps = (factor * magnitude for factor in (1, 2, 5, 10))
    step = next(step for step in steps if step >= _ENOUGH * raw)
    first = math.ceil(low / step)
    count = math.floor(high / step) - first + 1
    return [round((first + index) * step, 10) for index in range(count)]
