"""An HTTP client that talks to listed places alone, also where a redirect leads.

Source: httpx, which huggingface_hub brings, and whose request hook also sees each redirect.
Limits: proxies and certificates are those of the environment (HTTPS_PROXY, SSL_CERT_FILE), as for
any httpx client; the list is not. A name is trusted as far as TLS proves it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

import phiray
from phiray.errors import ExitCode, FetchError

_MAX_REDIRECTS = 5
_ANY_SUBDOMAIN = "*."


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, and how often it is asked again."""

    connect_seconds: float = 20.0
    stall_seconds: float = 60.0
    """A connection without a byte for so long is given up."""
    attempts: int = 6
    """Failures in a row, none of which brought anything new."""
    first_wait_seconds: float = 1.0
    """After the first failure; doubled after each further one."""
    longest_wait_seconds: float = 60.0


def build_client(places: Sequence[str], *, patience: Patience) -> httpx.Client:
    """Return a client for these places.

    Args:
        places: beginnings of URLs, such as `https://host/folder/`; `https://*.host/` is every
            subdomain.
        patience: its times.
    """

    def refuse_other_places(request: httpx.Request) -> None:
        if not any(is_within(request.url, place) for place in places):
            raise _refusal(request.url, places)

    return httpx.Client(
        follow_redirects=True,
        max_redirects=_MAX_REDIRECTS,
        timeout=httpx.Timeout(patience.stall_seconds, connect=patience.connect_seconds),
        limits=httpx.Limits(max_connections=None),
        event_hooks={"request": [refuse_other_places]},
        headers={"User-Agent": f"phiray/{phiray.__version__}", "Accept-Encoding": "identity"},
    )


def is_within(url: httpx.URL, place: str) -> bool:
    """Say whether a URL lies at a place."""
    allowed = urlsplit(place)
    host = allowed.hostname or ""
    is_host = (
        url.host.endswith(host.removeprefix("*"))
        if host.startswith(_ANY_SUBDOMAIN)
        else url.host == host
    )
    is_path = url.path.startswith(allowed.path) and ".." not in url.path.split("/")
    is_origin = (url.scheme, url.port) == (allowed.scheme, allowed.port)
    return is_host and is_path and is_origin and not url.userinfo


def _refusal(url: httpx.URL, places: Sequence[str]) -> FetchError:
    path = url.raw_path.partition(b"?")[0].decode()  # without what a signature would give away
    return FetchError(
        f"A download leads to {url.scheme}://{url.netloc.decode()}{path}. Expected one of the "
        f"places that it may come from ({', '.join(places)}); no other is asked. A network that "
        "wants a login redirects so; if yours does not, look for a newer phiray.",
        exit_code=ExitCode.PERMISSION,
    )
