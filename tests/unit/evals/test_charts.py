"""Coordinates by hand."""

import pytest

from phiray.evals.charts import Curve, draw_curves, draw_whiskers


def _points(text: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, point.split(","))) for point in text.split()]


def test_draw_curves_puts_higher_values_higher_and_later_steps_further_right() -> None:
    chart = draw_curves("loss", [Curve("a", [1, 2, 4], [3.0, 2.0, 1.0])])
    points = _points(chart.curves[0].points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[0][1] < points[1][1] < points[2][1]  # SVG counts downwards
    assert points[-1][0] == pytest.approx(chart.right, abs=0.1)
    assert all(chart.top <= y <= chart.bottom for _, y in points)


def test_draw_curves_thins_long_curves_to_means() -> None:
    values = [float(step % 2) for step in range(1000)]
    chart = draw_curves("loss", [Curve("a", list(range(1, 1001)), [*values])])
    assert 100 <= len(_points(chart.curves[0].points)) <= 240


def test_draw_curves_has_round_ticks_inside_the_axes() -> None:
    chart = draw_curves("loss", [Curve("a", [1, 90], [2.3, 6.9])])
    assert [tick.label for tick in chart.x_ticks] == ["0", "20", "40", "60", "80"]
    assert [tick.label for tick in chart.y_ticks] == ["3", "4", "5", "6", "7"]
    assert all(chart.top <= tick.place <= chart.bottom for tick in chart.y_ticks)


def test_draw_curves_takes_a_single_point() -> None:
    chart = draw_curves("loss", [Curve("a", [1], [2.0])])
    assert len(_points(chart.curves[0].points)) == 1


def test_draw_whiskers_share_one_line() -> None:
    first, second = draw_whiskers([(0.0, 1.0, 2.0), (2.0, 3.0, 4.0)], zero=False)
    assert first.low < first.value < first.high == second.low < second.high
    assert first.zero is None
    assert first.low > 0
    assert second.high < 100


def test_draw_whiskers_show_zero_for_differences() -> None:
    whisker = draw_whiskers([(1.0, 2.0, 3.0)], zero=True)[0]
    assert whisker.zero is not None
    assert whisker.zero < whisker.low


def test_draw_whiskers_take_an_interval_without_width() -> None:
    whisker = draw_whiskers([(1.0, 1.0, 1.0)], zero=False)[0]
    assert whisker.low == whisker.value == whisker.high == 50.0
