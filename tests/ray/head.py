"""A Ray head of one's own on the loopback, with a token, ended by the processes that it started."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from ray.util import get_node_ip_address

_WORKER_PORTS = range(10002, 20000)
"""`ray start` refuses a fixed port among these."""


@dataclass(frozen=True)
class Head:
    """A head that runs."""

    url: str
    environment: dict[str, str]
    """For commands that may use it."""
    gcs: str
    """Where nodes join it."""


@contextmanager
def ray_head(
    folder: Path, *, num_cpus: int, scaling: Callable[[str], str] | None = None
) -> Iterator[Head]:
    """Start a head as a cluster's own command does, and end it with the block.

    Args:
        folder: for its token; short, since Ray puts sockets below its own.
        num_cpus: logical CPUs.
        scaling: makes the YAML of an autoscaler of Ray's from the head's address; its nodes are
            raylets of this machine.
    """
    token = folder / "token"
    token.write_text("t" * 64)
    token.chmod(0o600)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    port, dashboard = free_port(), free_port()
    gcs = f"{get_node_ip_address()}:{port}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += [f"--port={port}", f"--num-cpus={num_cpus}", "--dashboard-host=127.0.0.1"]
    command += [f"--dashboard-port={dashboard}", "--object-store-memory=300000000"]
    # another Ray of this machine may have taken the usual ones
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    command += [f"--ray-client-server-port={free_port()}"]
    if scaling is not None:
        file = folder / "scaling.yaml"
        file.write_text(scaling(gcs))
        command += [f"--autoscaling-config={file}"]
        environment |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(dashboard, process=process)
        yield Head(f"http://127.0.0.1:{dashboard}", environment, gcs)
    finally:
        end(process)


@contextmanager
def ray_node(head: Head, *, num_cpus: int, wrapper: Sequence[str] = ()) -> Iterator[None]:
    """Start a node that joins a head, and end it with the block.

    Args:
        head: that it joins.
        num_cpus: logical CPUs.
        wrapper: words before the command, such as those that give it another view of the disk.
    """
    before = count_nodes(head)
    command = [*wrapper, str(Path(sys.executable).with_name("ray")), "start", "--block"]
    command += [f"--address={head.gcs}", f"--num-cpus={num_cpus}"]
    command += ["--object-store-memory=300000000"]
    command += [f"--dashboard-agent-listen-port={free_port()}"]
    process = subprocess.Popen(
        command, env=head.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while count_nodes(head) == before:
            assert process.poll() is None, f"the node ended with {process.returncode}"
            assert time.monotonic() < deadline, "the node did not join"
            time.sleep(0.2)
        yield
    finally:
        end(process)


def count_nodes(head: Head) -> int:
    """Return the nodes beside the head."""
    request = urllib.request.Request(f"{head.url}/api/v0/nodes")
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        nodes = json.load(answer)["data"]["result"]["result"]
    return sum(node["state"] == "ALIVE" and not node["is_head_node"] for node in nodes)


def free_port() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
        if port not in _WORKER_PORTS:
            return port


def wait_for_port(port: int, *, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the head ended with {process.returncode}"
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the head's dashboard does not answer")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End the head and all that came of it."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=20)
    for left in alive:
        left.kill()
    process.wait()
