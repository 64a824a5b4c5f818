"""Ask a server again when it did not answer as it should: later each time, and not for ever.

Source: exponential backoff with jitter; RFC 9110 for what a status means and for Retry-After.
Limits: a Retry-After that names a date is passed over.
"""

import random
import ssl
import time
from collections.abc import Callable
from typing import TypeVar

import httpx

from phiray.errors import ExitCode, FetchError
from phiray.fetch.client import Patience

Result = TypeVar("Result")
Note = Callable[[str], None]
"""Told of what a person should know, in one line."""

_LATER = frozenset({408, 425, 429})
_GONE = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 403, 451})
_SERVER_FAULT = 500
_ASKED_WAIT_FACTOR = 2
"""A server may ask for a longer wait than ours, up to so many times the longest one."""


class BrokenOffError(Exception):
    """A request that may succeed if it is made again; never leaves this package."""

    def __init__(self, why: str, *, wait_seconds: float = 0.0, has_gained: bool = False) -> None:
        """Keep what happened.

        Args:
            why: in words.
            wait_seconds: what the server asked for.
            has_gained: whether something arrived that need not come again.
        """
        super().__init__(why)
        self.why = why
        self.wait_seconds = wait_seconds
        self.has_gained = has_gained


def keep_trying(
    request: Callable[[], Result], *, what: str, patience: Patience, note: Note
) -> Result:
    """Make a request until it succeeds.

    Args:
        request: raises BrokenOffError, or what httpx raises, where it may be made again.
        what: is being fetched, for messages.
        patience: how often and how long.
        note: told from the second failure in a row on.

    Raises:
        FetchError: 75 if it fails too often; 69 if a certificate is wrong.
    """
    failures = 0
    while True:
        try:
            return request()
        except (BrokenOffError, httpx.RequestError) as error:
            broken = error if isinstance(error, BrokenOffError) else _broken_off(error, what)
        failures = 1 if broken.has_gained else failures + 1
        if failures >= patience.attempts:
            raise FetchError(
                f"{what}: {broken.why}, {failures} times in a row. Expected an answer. Look at the "
                "network, and give the same command again later: it goes on from what has arrived."
            )
        seconds = _wait_seconds(failures, broken, patience)
        if failures > 1:
            note(f"{what}: {broken.why}; trying again in {seconds:.0f} s")
        time.sleep(seconds)


def check_status(response: httpx.Response, *, what: str) -> None:
    """Pass an answer that holds what was asked for.

    Raises:
        BrokenOffError: if it may do so later.
        FetchError: 66 if there is no such file, 77 if the server forbids it, else 69.
    """
    status = response.status_code
    if response.is_success:
        return
    if status in _LATER or status >= _SERVER_FAULT:
        after = response.headers.get("Retry-After", "")
        raise BrokenOffError(
            f"the server answered {status}", wait_seconds=float(after) if after.isdecimal() else 0.0
        )
    code = ExitCode.UNAVAILABLE
    if status in _GONE:
        code = ExitCode.MISSING_INPUT
    elif status in _FORBIDDEN:
        code = ExitCode.PERMISSION
    raise FetchError(
        f"{what}: {response.request.url.host} answered {status} {response.reason_phrase}. Expected "
        "the file. The source may have moved, or a proxy may forbid it: try its URL in a browser.",
        exit_code=code,
    )


def _wait_seconds(failures: int, broken: BrokenOffError, patience: Patience) -> float:
    grown = patience.first_wait_seconds * 2.0 ** (failures - 1)
    own = min(grown, patience.longest_wait_seconds) * random.uniform(0.75, 1.25)
    asked = min(broken.wait_seconds, _ASKED_WAIT_FACTOR * patience.longest_wait_seconds)
    return max(own, asked)


def _broken_off(error: httpx.RequestError, what: str) -> BrokenOffError:
    """Say in words what httpx met, which is often the bare number of an OSError."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise FetchError(
                f"{what}: the server's certificate is not valid ({cause.verify_message}). Expected "
                "one that this machine trusts. If a proxy here opens TLS, name its certificate in "
                "SSL_CERT_FILE.",
                exit_code=ExitCode.UNAVAILABLE,
            ) from error
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TooManyRedirects):
        raise FetchError(
            f"{what}: the server redirects without end. Expected the file. Try its URL elsewhere.",
            exit_code=ExitCode.UNAVAILABLE,
        ) from error
    if isinstance(error, httpx.ConnectTimeout):
        return BrokenOffError("no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return BrokenOffError("the server sent nothing for too long")
    return BrokenOffError(f"the connection failed ({str(error) or type(error).__name__})")
