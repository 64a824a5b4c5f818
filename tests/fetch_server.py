"""A real HTTP server on this machine that answers as badly as it is told, and counts."""

import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from phiray.fetch.client import Patience

QUICK = Patience(
    connect_seconds=2.0,
    stall_seconds=10.0,
    attempts=4,
    first_wait_seconds=0.01,
    longest_wait_seconds=0.02,
)
"""Tries again as a user's patience does, a hundred times faster."""
IMPATIENT = replace(QUICK, stall_seconds=0.4)
"""For what does stall: a busy machine stalls servers that should not."""

_CHUNK = 4096


@dataclass(frozen=True)
class Answer:
    """How one request is answered; as it should be, if nothing is said."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Other bytes than the file's."""
    declared: int | None = None
    """Another Content-Length than the true one."""
    cut_at: int | None = None
    """Byte of the file at which the connection is closed."""
    stall_at: int | None = None
    """Byte of the file from which on nothing comes."""
    ignores_range: bool = False
    without_length: bool = False
    content_range: str | None = None


@dataclass
class Asked:
    """A request, and what was sent for it."""

    host: str
    path: str
    range: str | None
    if_range: str | None
    headers: dict[str, str]
    sent: int = 0
    """Bytes of the body."""


@dataclass
class FaultyServer:
    """Files by path, their tags, and what goes wrong with the next requests for them."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    log: list[Asked] = field(default_factory=list)
    pace_seconds: float = 0.0
    """Between two pieces of 4 KiB."""
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def sent(self, path: str) -> int:
        """Return how many bytes of a file went out, over all requests."""
        return sum(asked.sent for asked in self.log if asked.path == path)

    def asked(self, path: str) -> list[Asked]:
        return [asked for asked in self.log if asked.path == path]


@contextmanager
def faulty_server(*, certificate: Path | None = None) -> Iterator[FaultyServer]:
    """Serve until the block ends, with TLS if a certificate with its key is given."""
    state = FaultyServer()
    server = _Server(("127.0.0.1", 0), type("_Bound", (_Handler,), {"state": state}))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.context = context
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = 64
    context: ssl.SSLContext | None = None

    def finish_request(self, request: object, client_address: object) -> None:
        """Shake hands in the thread of the connection."""
        if self.context is None:
            super().finish_request(request, client_address)  # type: ignore[arg-type]
            return
        with self.context.wrap_socket(request, server_side=True) as secured:  # type: ignore[arg-type]
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True  # which would hold each small body back for 40 ms
    state: FaultyServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        ranges = self.headers.get("Range"), self.headers.get("If-Range")
        asked = Asked(self.headers.get("Host", ""), path, *ranges, dict(self.headers))
        self.state.log.append(asked)
        queue = self.state.answers.get(path, [])
        answer = queue.pop(0) if queue else Answer()
        body = self.state.files.get(path) if answer.body is None else answer.body
        if answer.status != 200 or body is None:
            self._send_head(answer.status if answer.status != 200 else 404, answer)
        else:
            self._send_file(body, answer, asked)

    def _send_file(self, body: bytes, answer: Answer, asked: Asked) -> None:
        tag = self.state.tags.get(asked.path, '"1"')
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", asked.range or "")
        if found and not answer.ignores_range and asked.if_range in (None, tag):
            start = int(found[1])
        if start >= len(body) > 0:
            self._send_head(416, answer)
            return
        length = len(body) - start if answer.declared is None else answer.declared
        part = answer.content_range or f"bytes {start}-{len(body) - 1}/{len(body)}"
        headers = {
            **({"ETag": tag} if tag else {}),
            **({"Content-Range": part} if start else {}),
            **({} if answer.without_length else {"Content-Length": str(length)}),
            **answer.headers,
        }
        self.send_response(206 if start else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self._send_bytes(body, start, answer, asked)

    def _send_bytes(self, body: bytes, start: int, answer: Answer, asked: Asked) -> None:
        stops = [stop for stop in (answer.cut_at, answer.stall_at) if stop is not None]
        end = min([len(body), *stops])
        with suppress(OSError):
            while start < end:
                piece = body[start : min(start + _CHUNK, end)]
                self.wfile.write(piece)
                self.wfile.flush()
                asked.sent += len(piece)
                start += len(piece)
                time.sleep(self.state.pace_seconds)
        if answer.stall_at is not None:
            self.state.ended.wait(10)
        lied = answer.declared is not None or answer.without_length
        self.close_connection = bool(stops) or lied

    def _send_head(self, status: int, answer: Answer) -> None:
        self.send_response(status)
        for name, value in {**answer.headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()
