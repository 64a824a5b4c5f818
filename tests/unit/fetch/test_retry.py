import ssl
import time
from collections.abc import Callable

import httpx
import pytest

from phiray.errors import ExitCode, FetchError
from phiray.fetch.client import Patience
from phiray.fetch.retry import BrokenOffError, check_status, keep_trying
from tests.fetch_server import QUICK


def failing(*errors: Exception) -> Callable[[], str]:
    """Return a request that raises these, one at each call, and then succeeds."""
    left = list(errors)

    def request() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return request


def answer(status: int, **headers: str) -> httpx.Response:
    return httpx.Response(status, headers=headers, request=httpx.Request("GET", "https://a.b/c"))


def test_keep_trying_succeeds_after_failures_and_tells_from_the_second_on() -> None:
    notes: list[str] = []
    request = failing(BrokenOffError("a"), BrokenOffError("b"), httpx.ReadTimeout("c"))
    assert keep_trying(request, what="file", patience=QUICK, note=notes.append) == "done"
    assert [note.partition(";")[0] for note in notes] == [
        "file: b",
        "file: the server sent nothing for too long",
    ]


def test_keep_trying_gives_up_as_resumable() -> None:
    request = failing(*[BrokenOffError("the connection broke")] * QUICK.attempts)
    with pytest.raises(FetchError, match=r"the connection broke, 4 times in a row") as caught:
        keep_trying(request, what="file", patience=QUICK, note=print)
    assert caught.value.exit_code == ExitCode.RESUMABLE


def test_keep_trying_begins_to_count_anew_when_something_arrived() -> None:
    errors = [BrokenOffError("x", has_gained=True)] * (3 * QUICK.attempts)
    assert keep_trying(failing(*errors), what="file", patience=QUICK, note=print) == "done"


def test_keep_trying_waits_longer_each_time_and_as_long_as_it_is_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    patience = Patience(first_wait_seconds=1, longest_wait_seconds=8, attempts=7)
    errors = [*[BrokenOffError("x")] * 5, BrokenOffError("x", wait_seconds=12)]
    keep_trying(failing(*errors), what="file", patience=patience, note=print)
    bounds = [(0.75, 1.25), (1.5, 2.5), (3, 5), (6, 10), (6, 10), (12, 12)]
    assert all(low <= wait <= high for wait, (low, high) in zip(slept, bounds, strict=True))


def test_keep_trying_does_not_wait_for_days(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    request = failing(BrokenOffError("x", wait_seconds=1e6))
    keep_trying(request, what="file", patience=Patience(longest_wait_seconds=60), note=print)
    assert slept == [120]


def test_keep_trying_names_a_wrong_certificate_at_once() -> None:
    error = httpx.ConnectError("failed")
    error.__cause__ = ssl.SSLCertVerificationError("failed")
    error.__cause__.verify_message = "self-signed certificate"
    with pytest.raises(FetchError, match="not valid \\(self-signed certificate\\)") as caught:
        keep_trying(failing(error), what="file", patience=QUICK, note=print)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_keep_trying_ends_where_redirects_do_not() -> None:
    with pytest.raises(FetchError, match="redirects without end"):
        keep_trying(failing(httpx.TooManyRedirects("x")), what="file", patience=QUICK, note=print)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, ExitCode.MISSING_INPUT),
        (410, ExitCode.MISSING_INPUT),
        (401, ExitCode.PERMISSION),
        (403, ExitCode.PERMISSION),
        (400, ExitCode.UNAVAILABLE),
        (304, ExitCode.UNAVAILABLE),
    ],
)
def test_check_status_says_what_is_final(status: int, code: ExitCode) -> None:
    with pytest.raises(FetchError, match=rf"file: a\.b answered {status} ") as caught:
        check_status(answer(status), what="file")
    assert caught.value.exit_code == code


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_check_status_lets_what_may_pass_be_tried_again(status: int) -> None:
    with pytest.raises(BrokenOffError, match=f"answered {status}") as caught:
        check_status(answer(status, **{"Retry-After": "7"}), what="file")
    assert caught.value.wait_seconds == 7


def test_check_status_passes_success_and_odd_retry_after() -> None:
    check_status(answer(200), what="file")
    check_status(answer(206), what="file")
    with pytest.raises(BrokenOffError, match="503") as caught:
        check_status(answer(503, **{"Retry-After": "Fri, 31 Dec 1999"}), what="file")
    assert caught.value.wait_seconds == 0
