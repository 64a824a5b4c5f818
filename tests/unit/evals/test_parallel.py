from phiray.evals.parallel import AxisData, draw_parallel


def places(points: str) -> list[float]:
    return [float(pair.split(",")[1]) for pair in points.split()]


def test_axes_stretch_from_lowest_to_highest_and_logarithms_are_even() -> None:
    chart = draw_parallel(
        [
            AxisData("kind", ["mlp", "linear", "mlp"]),
            AxisData("rate", [0.001, 0.01, 0.1], is_log=True, is_number=True),
        ],
        ["0", "1", "2"],
        kinds=["complete", "stopped", "best"],
    )
    lines = {line.name: places(line.points) for line in chart.lines}
    assert lines["0"][0] == lines["2"][0] != lines["1"][0]
    rates = [lines[name][1] for name in "012"]
    assert rates[0] == chart.bottom
    assert rates[2] == chart.top
    assert rates[1] == (chart.top + chart.bottom) / 2
    assert [line.kind for line in chart.lines] == ["stopped", "complete", "best"]
    assert [[tick.label for tick in axis.ticks] for axis in chart.axes] == [
        ["mlp", "linear"],
        ["0.1", "0.001"],
    ]


def test_an_axis_of_one_value_is_drawn() -> None:
    chart = draw_parallel(
        [AxisData("a", [1, 1], is_number=True), AxisData("b", ["x", "y"])],
        ["0", "1"],
        kinds=["best", "stopped"],
    )
    assert [tick.label for tick in chart.axes[0].ticks] == ["1"]


def test_choices_that_are_numbers_stand_by_size() -> None:
    chart = draw_parallel(
        [AxisData("a", [20, 5, 10]), AxisData("b", ["x", "y", "x"])],
        ["0", "1", "2"],
        kinds=["best", "stopped", "complete"],
    )
    ticks = {tick.label: tick.place for tick in chart.axes[0].ticks}
    assert ticks["5"] > ticks["10"] > ticks["20"]


def test_zero_lies_below_all_that_were_drawn_on_an_axis_of_logarithms() -> None:
    chart = draw_parallel(
        [
            AxisData("decay", [0.0, 0.01, 0.1], is_log=True, is_number=True),
            AxisData("b", [1, 2, 3]),
        ],
        ["0", "1", "2"],
        kinds=["best", "complete", "complete"],
    )
    rates = {line.name: places(line.points)[0] for line in chart.lines}
    assert rates["0"] == chart.bottom > rates["1"] > rates["2"]
