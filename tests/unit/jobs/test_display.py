import pytest

from phiray.jobs.display import Display, SilentDisplay


def test_silent_display_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    display: Display = SilentDisplay()
    display.progress("reading", 1, 2)
    display.note("done")
    display.step("scratch", {"step": 1}, 10)
    assert capfd.readouterr() == ("", "")
