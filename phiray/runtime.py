"""Environment variables, Ray's start, its token: read here, in threads.py and in node.py.

Source: Ray 2.60 token authentication and Train V2 settings; the values were measured on two cores.
Limits: an embedded Ray on this machine, or the cluster that this process is a job of; submitting
to one is in `jobs/cluster/remote.py`.
"""

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray
import ray.data
from ray._private import ray_constants
from ray._private.state import state as ray_state
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
    get_or_create_autoscaling_coordinator,
)
from ray.data._internal.execution.node_trackers.actor_location import (
    get_or_create_actor_location_tracker,
)
from ray.data._internal.stats import get_or_create_stats_actor

from phiray.errors import ClusterError, ExitCode
from phiray.node import num_cores
from phiray.threads import let_threads_sleep

_PRIVATE_UMASK = 0o077
_OBJECT_STORE_BYTES = 500 * 1024**2
"""Enough for prefetched batches on one machine; Ray's default would take 30 % of the memory."""

_COORDINATOR_SECONDS = 5.0
"""As long as Ray Train itself gives its coordinator to answer."""

CHECKPOINT_PATIENCE_SECONDS = 30 * 60
"""While rank 0 writes, flushes and hashes a checkpoint, the other workers wait in a collective, and
nobody reads from the pipelines: 33 GB of Phi-2's `instruct` take half an hour at 18 MB/s. Such
patience costs nothing where a worker dies: its closed connections, and Ray, tell of it at once."""

_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"

_TRAIN_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Seconds between the controller's polls: a report blocks until the next one.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # One machine needs 10 to 20 s to start workers; for ever would hide a machine that cannot.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    # A rank that never reports would hang the others for ever.
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "300",
    # Ray Data counts the time in which nobody asks for rows, too.
    "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": str(CHECKPOINT_PATIENCE_SECONDS),
    # A node of an embedded Ray is never drained; the watcher costs each start seconds of CPU time.
    _WATCHER: "0",
    # A stopped trial ends by itself within seconds; one that hangs is killed after so many.
    "TUNE_FORCE_TRIAL_CLEANUP_S": "30",
    # Ctrl-C ends a search as it ends a run; Tune would swallow it and return what there is.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # phiray keeps its own records, and shows them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray warns that it will not override CUDA_VISIBLE_DEVICES for workers without a GPU.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


HEAD_RESOURCES = {"node:__internal_head__": 0.001}
"""What keeps an actor that only waits on the head, which has no CPUs and is never taken away."""

_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
_LOOPBACK_SETTINGS = {
    # What Ray does on macOS and Windows by itself: the node's address is 127.0.0.1, and all of its
    # processes listen there alone. On Linux they would listen on every interface.
    ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
    # Whoever connects to a port of theirs is one of the workers: neither asks for a token.
    "GLOO_SOCKET_IFNAME": _LOOPBACK,
    "NCCL_SOCKET_IFNAME": _LOOPBACK,
}

_CLUSTER_SETTINGS = {
    # A cloud takes minutes to add a node.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1200",
    # Nodes are drained here, and workers told of it.
    _WATCHER: "1",
    # Of the 30 s that a cloud may give, the default would take 5.
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "2",
}

_ELASTIC_SETTINGS = {
    # Ray still believes in a lost node for some seconds, and asks for its share in vain: then it
    # must ask again for what there is. What is there is given at once, so this is no short time.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",
}


def expect_lost_nodes() -> None:
    """Make runs that this process starts from here on ask anew soon, where nodes come and go."""
    os.environ.update(_ELASTIC_SETTINGS)


def hears_of_drained_nodes() -> bool:
    """Tell whether Ray tells the workers of this process's run that a node is being taken away."""
    return os.environ.get(_WATCHER, "1") != "0"  # Ray hands it on to its workers


def token_path() -> Path:
    """Return the file that holds Ray's token; `RAY_AUTH_TOKEN_PATH` overrides the place."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")  # Ray, too, takes an empty one as none
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def pass_proxies_by(host: str) -> None:
    """Let this process reach a host directly: a proxy would read the token, or not find the host.

    Ray's own client takes the proxies of the environment, for addresses of this machine, too.
    """
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), host)))


def ensure_token() -> Path:
    """Make Ray's token if there is none, and let only its owner read it.

    Returns:
        The token's file, with mode 0600 (Ray itself would write 0644).

    Raises:
        ClusterError: with exit code 77 if the file cannot be written or belongs to somebody else,
            or the environment switches authentication off.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "token")
    if mode.lower() != "token":  # Ray takes every other word as `disabled`
        raise ClusterError(
            f"RAY_AUTH_MODE is `{mode}`: everybody on this network could run code as you. It must "
            "be `token` or unset. Unset it.",
            exit_code=ExitCode.PERMISSION,
        )
    path = token_path()
    if path.exists() and not path.is_file():
        raise ClusterError(
            f"Ray's token {path} is no file. It must be one that you own. Set RAY_AUTH_TOKEN_PATH "
            "to a place that you can write.",
            exit_code=ExitCode.PERMISSION,
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists() or path.stat().st_size == 0:
            _write_token(path)
        path.chmod(0o600)
    except OSError as error:
        raise ClusterError(
            f"Ray's token file {path} cannot be kept: {error.strerror}. It must be a file that you "
            "own. Set RAY_AUTH_TOKEN_PATH to a place that you can write.",
            exit_code=ExitCode.PERMISSION,
        ) from error
    return path


def _write_token(path: Path) -> None:
    """Put a new token in place at once, readable by nobody else at any moment."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    temporary.replace(path)


@contextmanager
def ray_session(
    *, num_cpus: int, dashboard: bool = False, attach: bool = False
) -> Iterator[str | None]:
    """Use the Ray that this process has started, or start one for as long as the block runs.

    Args:
        num_cpus: logical CPUs that all workers and their readers reserve together.
        attach: use the cluster that this process belongs to; whether it has room is left to it,
            for it may add nodes.
        dashboard: start Ray's own dashboard as well, on the loopback; it asks for the token.

    Yields:
        The dashboard's address; None where this session started none.

    Raises:
        ClusterError: if Ray does not start, with Ray's own reason; if the one that runs has fewer
            CPUs: some workers would wait for their readers for ever.
    """
    if ray.is_initialized() and attach:
        _set_defaults({**_TRAIN_SETTINGS, **_CLUSTER_SETTINGS})
        yield None
        return
    if ray.is_initialized():
        found = ray.cluster_resources().get("CPU", 0)
        if found < num_cpus:
            raise ClusterError(
                f"The Ray of this process has {found:g} CPUs, but workers and readers need "
                f"{num_cpus}. Use fewer workers, or start it with more."
            )
        yield None
        return
    url = None
    if attach:
        attach_ray()
    else:
        url = start_ray(num_cpus=num_cpus, dashboard=dashboard)
    try:
        yield url
    finally:
        ray.shutdown()


def start_ray(*, num_cpus: int, dashboard: bool = False) -> str | None:
    """Start an embedded Ray: private, with a token, and never somebody else's cluster.

    Ray 2.60 turns its token authentication on for a local start and takes the token that is there.
    It listens on the loopback alone, and so do the workers of a training.

    Args:
        num_cpus: logical CPUs that it must have; it has at least those of this machine.
        dashboard: start Ray's own dashboard as well, on the loopback.

    Returns:
        The dashboard's address, or None.

    Raises:
        ClusterError: 77 if the environment switches authentication off, 69 if Ray does not start.
    """
    ensure_token()
    previous_umask = os.umask(_PRIVATE_UMASK)
    try:
        let_threads_sleep()
        _set_defaults(_TRAIN_SETTINGS)
        # Ray puts handlers of its own there, in Python and in C++; the latter aborts the process.
        with kept_handler(signal.SIGTERM), _on_the_loopback():
            started = ray.init(
                address="local",
                num_cpus=max(num_cores(), num_cpus),
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # a raylet that is slow to start is told by a bare Exception
        raise ClusterError(
            f"Ray did not start on this machine: {error}. It needs two free logical CPUs, about "
            "2 GB of memory and a writable temporary folder. Run `phiray doctor`."
        ) from error
    finally:
        os.umask(previous_umask)
    quiet_ray()
    return f"http://{started.dashboard_url}" if dashboard else None


def check_job() -> None:
    """Refuse to attach a process that is no part of a cluster, before it makes or reads anything.

    Raises:
        ClusterError: 69 if it is none.
    """
    if not (ray.is_initialized() or os.environ.get("RAY_ADDRESS")):
        raise ClusterError(
            "--address is auto, but this is no job of a cluster (RAY_ADDRESS is not set). It works "
            "on a cluster alone. Submit the run with --address http://..., or leave --address out."
        )


def attach_ray() -> None:
    """Use the cluster that this process is a job of; relative paths mean nothing from here on.

    Raises:
        ClusterError: 69 if it is none.
    """
    check_job()
    _set_defaults({**_TRAIN_SETTINGS, **_CLUSTER_SETTINGS})
    with kept_handler(signal.SIGTERM):
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    quiet_ray()
    # Ray unpacks a job's folder anew, from under this process, for each agent that starts on this
    # machine. Settings have been read by now, and a process without a folder cannot go on.
    os.chdir("/")
    # Ray Data's helpers outlive a run and stay on the node where they were first asked for. Made by
    # a worker, they would keep its node from ever being idle: no autoscaler could take it away.
    get_or_create_autoscaling_coordinator()
    get_or_create_stats_actor()
    get_or_create_actor_location_tracker()


def recount_nodes() -> None:
    """Let Ray's coordinator see at once which nodes there are.

    Raises:
        RayError: if it does not answer within seconds.
    """
    coordinator = get_or_create_autoscaling_coordinator()
    asked = coordinator.get_reserved_resources.remote("phiray", recompute=True)
    ray.get(asked, timeout=_COORDINATOR_SECONDS)


def possible_growth() -> dict[str, float]:
    """Return what the cluster may still add of each of Ray's resources, if it tells."""
    there = ray.cluster_resources()
    most = ray_state.get_max_resources_from_cluster_config() or {}
    return {key: max(0.0, count - there.get(key, 0.0)) for key, count in most.items()}


def _set_defaults(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        os.environ.setdefault(name, value)


@contextmanager
def _on_the_loopback() -> Iterator[None]:
    """Let all that is started within the block inherit that it is to stay on the loopback."""
    before = {name: os.environ.get(name) for name in _LOOPBACK_SETTINGS}
    is_enabled = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(_LOOPBACK_SETTINGS)
    ray_constants.ENABLE_RAY_CLUSTER = False  # Ray looked at the environment when it was loaded
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = is_enabled
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def kept_handler(number: signal.Signals) -> Iterator[None]:
    """Put a signal's handler back after the block, where Ray installs its own for good."""
    handler = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and handler is not None:
            signal.signal(number, handler)


def quiet_ray() -> None:
    """Switch off Ray's own progress bars and the log lines that no user can act on."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # what failed in a trial is told by phiray, in one paragraph
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
