import http.server
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.jobs.cluster.connect import connect

TOKEN = "a" * 64


class Dashboard(http.server.BaseHTTPRequestHandler):
    """Answers as a dashboard with token authentication does."""

    def do_GET(self) -> None:  # the library's name
        given = self.headers.get("Authorization")
        status = 401 if given is None else 200 if given == f"Bearer {TOKEN}" else 403
        body = json.dumps({"ray_version": "2.60.0", "version": "4"}).encode()
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    for name in ("no_proxy", "NO_PROXY"):  # a connection adds to them
        monkeypatch.setenv(name, "")
    return path


def test_a_cluster_that_takes_the_token_is_connected_to(address: str, token: Path) -> None:
    assert connect(address + "/")
    assert connect(f" {address}/#/jobs").get_address() == address  # as a browser shows it


def test_rays_client_tells_of_nothing_but_errors(address: str, token: Path) -> None:
    connect(address)
    loggers = [log for log in logging.root.manager.loggerDict if "ray.dashboard.modules." in log]
    assert "ray.dashboard.modules.job.sdk" in loggers
    chatty = [log for log in loggers if logging.getLogger(log).isEnabledFor(logging.WARNING)]
    assert not [log for log in chatty if log.endswith("sdk")]


def test_no_proxy_is_told_the_token(
    address: str, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's client, too, goes there directly; this machine's address is none that a proxy knows."""
    monkeypatch.setenv("no_proxy", "intranet.example")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    assert connect(address).get_version() == "4"  # a request of Ray's client: nobody is at the port
    assert os.environ["no_proxy"] == "intranet.example,127.0.0.1"


@pytest.mark.parametrize("content", ["b" * 64, "", "a\nb", "a b", "\u00e9", None])
def test_a_wrong_or_missing_token_is_no_permission(
    address: str, token: Path, content: str | None
) -> None:
    if content is None:
        token.unlink()
    else:
        token.write_text(content)
    with pytest.raises(ClusterError, match="token") as caught:
        connect(address)
    assert caught.value.exit_code == ExitCode.PERMISSION


def test_a_dead_address_is_no_cluster(token: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ClusterError, match=f"No Ray cluster at http://127.0.0.1:{port}") as caught:
        connect(f"http://127.0.0.1:{port}")
    assert caught.value.exit_code == ExitCode.NO_CLUSTER


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("ray://head:10001", "must be the address of a cluster's dashboard"),
        ("head:8265", "must be the address of a cluster's dashboard"),
        ("http://[::1", "must be the address of a cluster's dashboard"),
        ("http://127.0.0.1:abc", "must be the address of a cluster's dashboard"),
        ("http://head.example:8265", "the token would travel in the open"),
        ("http://me:secret@127.0.0.1:8265", "holds user:password@"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        connect(address)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "secret" not in caught.value.message


def test_a_wrong_token_is_never_shown(address: str, token: Path) -> None:
    token.write_text("secret\nlines")
    with pytest.raises(ClusterError, match="is not one line of letters and digits") as caught:
        connect(address)
    assert "secret" not in caught.value.message


def answer_once(server: socket.socket, answer: bytes) -> threading.Thread:
    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n[1]",
        b"HTTP/1.0 200 OK\r\n\r\n<html>",
        b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
    ],
)
def test_what_is_no_dashboard_is_no_cluster(token: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = answer_once(server, answer)
        with pytest.raises(ClusterError, match="No Ray cluster at") as caught:
            connect(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert caught.value.exit_code == ExitCode.NO_CLUSTER
