import asyncio
from collections.abc import AsyncIterator

import pytest

from phiray.jobs.cluster import output
from phiray.jobs.cluster.output import JobOutput
from tests.displays import SilentDisplay


class Lines(SilentDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


async def chunks(*texts: str, hangs: bool = False) -> AsyncIterator[str]:
    for text in texts:
        yield text
    if hangs:
        await asyncio.Event().wait()


def test_lines_are_shown_once_over_all_connections() -> None:
    display = Lines()
    shown = JobOutput(display)
    assert asyncio.run(shown.show(chunks("one\ntw", "o\n")))
    assert asyncio.run(shown.show(chunks("one\n", "two\nthree")))
    assert (display.said, shown.num_lines) == (["one", "two", "three"], 3)


def test_a_connection_without_a_word_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line is not shown: the next connection brings the whole."""
    monkeypatch.setattr(output, "SILENT_SECONDS", 0.05)
    display = Lines()
    shown = JobOutput(display)
    assert not asyncio.run(shown.show(chunks("one\nt", hangs=True)))
    assert asyncio.run(shown.show(chunks("one\ntwo\n")))
    assert display.said == ["one", "two"]
