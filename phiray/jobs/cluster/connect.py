"""Connect to a cluster's dashboard: its address, its token, and an answer within seconds.

    connect(address) -> JobSubmissionClient

Source: Ray itself asks a dead address, or one with another token, for minutes.
Limits: never `ray://`: with it, a laptop that closes its lid ends the run.
"""

import http.client
import json
import logging
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from ray.job_submission import JobSubmissionClient

from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.runtime import pass_proxies_by, token_path

CONNECT_SECONDS = 5.0
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env",
)
"""Loggers that tell of each upload and each connection, at a level of their own."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def connect(address: str) -> JobSubmissionClient:
    """Connect to a cluster that answers, and takes our token, within seconds.

    Raises:
        ConfigError: if the address is none of a dashboard (2).
        ClusterError: 69 if nothing answers there, 77 if it does not take the token.
    """
    url = _check_address(address)
    token = read_token()
    request = urllib.request.Request(f"{url}/api/version")  # http or https, see above
    request.add_header("Authorization", f"Bearer {token}")
    # neither through a proxy nor on to where an answer points: the token is for this address alone
    pass_proxies_by(str(urlsplit(url).hostname))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(request, timeout=CONNECT_SECONDS) as answer:
            version = json.load(answer)["ray_version"]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise ClusterError(
                f"{url} does not take the token in {token_path()}. It must be the cluster's own. "
                "Copy that of its head, or set RAY_AUTH_TOKEN_PATH to it.",
                exit_code=ExitCode.PERMISSION,
            ) from error
        raise _no_cluster(url, f"answered {error.code}") from error
    except OSError as error:
        raise _no_cluster(url, str(getattr(error, "reason", None) or error)) from error
    except (ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        raise _no_cluster(url, "what answers there is no dashboard of Ray") from error
    assert version
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    return JobSubmissionClient(url, headers={"Authorization": f"Bearer {token}"})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes an error of an answer that points elsewhere."""

    def redirect_request(self, *_: object) -> None:
        """Go nowhere."""


def read_token() -> str:
    """Read the token that opens a cluster.

    Raises:
        ClusterError: 77 if there is none.
    """
    path = token_path()
    mend = "It must hold the cluster's token. Copy that of its head there, or set "
    mend += "RAY_AUTH_TOKEN_PATH."
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        told = f"Ray's token {path} cannot be read: {error.strerror}. {mend}"
        raise ClusterError(told, exit_code=ExitCode.PERMISSION) from error
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable() or " " in token:
        told = f"Ray's token {path} is not one line of letters and digits. {mend}"
        raise ClusterError(told, exit_code=ExitCode.PERMISSION)
    return token


def _check_address(address: str) -> str:
    try:
        parts = urlsplit(address.strip())
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets without an end, or a port that is no number
        is_url = False
    if not is_url:
        raise ConfigError(
            f"--address is {address!r}. It must be the address of a cluster's dashboard, such as "
            "http://127.0.0.1:8265 (through `ray dashboard` or an ssh tunnel).",
            exit_code=ExitCode.USAGE,
        )
    if parts.username is not None:
        raise ConfigError(
            "--address holds user:password@. Ray's dashboard asks for its token alone. Leave that "
            "part out.",
            exit_code=ExitCode.USAGE,
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"--address is {address}, where the token would travel in the open. It must be https, "
            "or a tunnel that ends on this machine: ssh -L 8265:127.0.0.1:8265 HEAD, and then "
            "--address http://127.0.0.1:8265.",
            exit_code=ExitCode.USAGE,
        )
    return parts._replace(fragment="").geturl().rstrip("/")  # a browser shows `/#/jobs` behind it


def _no_cluster(url: str, why: str) -> ClusterError:
    return ClusterError(
        f"No Ray cluster at {url}: {why}. It must be the address of a dashboard that runs. Start "
        "the cluster, or its tunnel, and try again."
    )
