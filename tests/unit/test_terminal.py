"""Progress on a terminal and in plain lines."""

import io

import pytest
from rich.console import Console

from phiray import terminal
from phiray.terminal import LineDisplay, LiveDisplay, format_seconds


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    return clock


def record(step: int) -> dict[str, float | list[int]]:
    return {
        "step": step,
        "train/loss_nats_per_token": 2.5,
        "tokens_per_second": 12_345.0,
        "samples_per_second": 67.0,
        "data_wait_seconds": 0.5,
        "step_seconds": 2.0,
    }


def lines(buffer: io.StringIO) -> list[str]:
    return buffer.getvalue().splitlines()


def test_line_display_is_silent_about_short_work(clock: Clock) -> None:
    buffer = io.StringIO()
    display = LineDisplay(Console(file=buffer))
    for done in range(1, 11):
        display.progress("reading", done, 10)
    assert lines(buffer) == []


def test_line_display_says_that_something_has_begun() -> None:
    buffer = io.StringIO()
    with LineDisplay(Console(file=buffer)):
        assert lines(buffer) == ["starting"]


def test_line_display_says_how_long_work_goes_and_when_it_ends(clock: Clock) -> None:
    buffer = io.StringIO()
    display = LineDisplay(Console(file=buffer))
    for done in (0, 1, 2, 3, 4):
        display.progress("reading", done, 4)
        clock.now += 3.0
    assert lines(buffer) == ["reading: 1/4  0:09 left", "reading: 4/4"]


def test_line_display_does_not_count_what_was_done_before_it_was_told(clock: Clock) -> None:
    buffer = io.StringIO()
    display = LineDisplay(Console(file=buffer))
    for done in (900, 910):
        display.progress("fetch", done, 1000)
        clock.now += 10.0
    assert lines(buffer) == ["fetch: 910/1000  1:30 left"]


def test_line_display_shows_first_last_and_some_steps(clock: Clock) -> None:
    buffer = io.StringIO()
    display = LineDisplay(Console(file=buffer))
    for step in range(1, 13):
        display.step("align", record(step), 12)
        clock.now += 2.0
    shown = lines(buffer)
    assert shown[0] == (
        "align: step 1/12  loss 2.500  12,345 tokens/s  67 rows/s  25% waiting for data  0:22 left"
    )
    assert [line.split()[2] for line in shown] == ["1/12", "6/12", "11/12", "12/12"]
    assert "left" not in shown[-1]


def test_line_display_does_not_read_brackets_as_markup() -> None:
    buffer = io.StringIO()
    LineDisplay(Console(file=buffer)).note("[bold]a[/bold] [/x]")
    assert lines(buffer) == ["[bold]a[/bold] [/x]"]


def test_live_display_leaves_one_line_for_each_finished_run() -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, width=100, color_system=None)
    with LiveDisplay(console) as display:
        display.progress("reading", 1, 2)
        display.progress("reading", 2, 2)
        for step in (1, 2, 3):
            display.step("align", record(step), 3)
        display.note("done [x]")
    kept = [line for line in lines(buffer) if "align: 3 steps, loss 2.500" in line]
    assert len(kept) == 1
    assert "done [x]" in buffer.getvalue()


def test_live_display_may_show_a_run_again_that_was_set_back() -> None:
    buffer = io.StringIO()
    console = Console(file=buffer, force_terminal=True, width=100, color_system=None)
    with LiveDisplay(console) as display:
        for step in (1, 2, 1, 2, 3):
            display.step("align", record(step), 3)
    assert buffer.getvalue().count("align: 3 steps") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (7, "0:07"), (750, "12:30"), (10931, "3:02:11")]
)
def test_format_seconds_reads_like_a_clock(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_build_display_writes_lines_where_standard_error_is_no_terminal() -> None:
    assert isinstance(terminal.build_display(), LineDisplay)
