import io

import pytest
from rich.console import Console

from phiray.jobs.display import Display
from phiray.terminal import LineDisplay, LiveDisplay
from tests.displays import SilentDisplay


@pytest.mark.parametrize("kind", [LiveDisplay, LineDisplay])
def test_both_forms_are_displays(kind: type[LiveDisplay] | type[LineDisplay]) -> None:
    text = io.StringIO()
    display: Display = kind(Console(file=text))
    display.note("done")
    assert "done" in text.getvalue()


def test_display_of_tests_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    display: Display = SilentDisplay()
    display.progress("reading", 1, 2)
    display.note("done")
    display.step("scratch", {"step": 1}, 10)
    assert capfd.readouterr() == ("", "")
