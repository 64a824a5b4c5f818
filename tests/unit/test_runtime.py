import logging
import os
import signal
import stat
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray
import ray.data
from ray._private import ray_constants
from ray._private.state import state

from phiray import runtime
from phiray.errors import ClusterError, ExitCode
from phiray.node import num_cores
from phiray.runtime import (
    CHECKPOINT_PATIENCE_SECONDS,
    attach_ray,
    ensure_token,
    expect_lost_nodes,
    hears_of_drained_nodes,
    pass_proxies_by,
    possible_growth,
    quiet_ray,
    ray_session,
    start_ray,
    token_path,
)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys" / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    return path


_SET_BY_A_START = {*runtime._TRAIN_SETTINGS, *runtime._CLUSTER_SETTINGS}
"""A Ray that an earlier test of this process started has left them behind."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Collect what Ray would be started with; every change to the environment is taken back."""
    calls: list[dict[str, object]] = []
    for name in list(os.environ):
        monkeypatch.setenv(name, os.environ[name])
    kept = {name: value for name, value in os.environ.items() if name not in _SET_BY_A_START}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options))
    return calls


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_token_is_readable_by_its_owner_alone(token: Path) -> None:
    previous = os.umask(0)
    try:
        assert ensure_token() == token
    finally:
        os.umask(previous)
    assert mode(token) == 0o600
    assert len(bytes.fromhex(token.read_text())) == 32
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_token_is_kept_and_closed_to_others(token: Path) -> None:
    ensure_token()
    content = token.read_text()
    token.chmod(0o644)  # what Ray itself writes
    ensure_token()
    assert token.read_text() == content
    assert mode(token) == 0o600


def test_empty_token_is_replaced(token: Path) -> None:
    token.parent.mkdir()
    token.touch()
    ensure_token()
    assert len(token.read_text()) == 64


def test_a_host_joins_those_that_are_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "intranet")
    monkeypatch.delenv("NO_PROXY", raising=False)
    pass_proxies_by("127.0.0.1")
    assert os.environ["no_proxy"] == "intranet,127.0.0.1"
    assert os.environ.pop("NO_PROXY") == "127.0.0.1"


def test_two_tokens_differ(token: Path) -> None:
    first = ensure_token().read_text()
    token.unlink()
    assert ensure_token().read_text() != first


def test_token_that_cannot_be_kept_is_a_matter_of_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file" / "auth_token"))
    with pytest.raises(ClusterError, match="Set RAY_AUTH_TOKEN_PATH") as caught:
        ensure_token()
    assert caught.value.exit_code == ExitCode.PERMISSION


def test_folder_in_place_of_the_token_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path))
    before = mode(tmp_path)
    with pytest.raises(ClusterError, match="is no file") as caught:
        ensure_token()
    assert caught.value.exit_code == ExitCode.PERMISSION
    assert mode(tmp_path) == before


@pytest.mark.parametrize("given", [None, ""])
def test_token_lies_in_the_home_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert token_path() == tmp_path / ".ray" / "auth_token"


@pytest.mark.parametrize("word", ["disabled", "Disabled", "DISABLED", "none", ""])
def test_ray_without_a_lock_is_refused(
    word: str, token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "RAY_AUTH_MODE", word)
    with pytest.raises(ClusterError, match=f"RAY_AUTH_MODE is `{word}`") as caught:
        start_ray(num_cpus=2)
    assert int(caught.value.exit_code) == 77
    assert asked == []


def test_embedded_ray_is_private_and_has_room_for_the_workers(
    token: Path, asked: list[dict[str, object]]
) -> None:
    num_cpus = num_cores() + 3
    start_ray(num_cpus=num_cpus)
    start_ray(num_cpus=1)
    options, small = asked
    assert options["address"] == "local"
    assert options["num_cpus"] == num_cpus
    assert small["num_cpus"] == num_cores()
    assert options["include_dashboard"] is False
    assert mode(token) == 0o600


def test_an_embedded_ray_hears_of_no_drained_node(
    token: Path, asked: list[dict[str, object]]
) -> None:
    os.environ.pop("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", None)
    assert hears_of_drained_nodes()
    start_ray(num_cpus=2)
    assert not hears_of_drained_nodes()


def test_embedded_ray_and_its_workers_stay_on_the_loopback(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes inherit it; this one, which may start others, has its environment back."""
    seen: list[tuple[str, str, str]] = []

    def init(**_: object) -> None:
        switch = os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]
        seen.append((ray.util.get_node_ip_address(), switch, os.environ["GLOO_SOCKET_IFNAME"]))

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setitem(os.environ, "GLOO_SOCKET_IFNAME", "eth0")
    start_ray(num_cpus=2)
    (loopback,) = [
        name
        for name, addresses in psutil.net_if_addrs().items()
        if "127.0.0.1" in [address.address for address in addresses]
    ]
    assert seen == [("127.0.0.1", "0", loopback)]
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert ray_constants.ENABLE_RAY_CLUSTER is True


def test_pipelines_outlast_a_large_checkpoint(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S"
    monkeypatch.delitem(os.environ, name, raising=False)
    start_ray(num_cpus=2)
    assert os.environ[name] == str(CHECKPOINT_PATIENCE_SECONDS) == "1800"


def test_starting_ray_gives_the_umask_back(token: Path, asked: list[dict[str, object]]) -> None:
    previous = os.umask(0o027)
    try:
        start_ray(num_cpus=2)
        after = os.umask(0o027)
    finally:
        os.umask(previous)
    assert after == 0o027


def test_settings_of_the_user_stay(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "7")
    start_ray(num_cpus=2)
    assert os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] == "7"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize("kind", [RuntimeError, Exception])  # the second from a slow raylet
def test_ray_that_does_not_start_says_why(
    token: Path,
    asked: list[dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Exception],
) -> None:
    def fail(**_: object) -> None:
        raise kind("no room for the object store")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match="no room for the object store") as caught:
        start_ray(num_cpus=2)
    assert int(caught.value.exit_code) == 69


def test_sigterm_stays_with_whom_it_was_though_ray_takes_it(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(
        ray, "init", lambda **_: signal.signal(signal.SIGTERM, lambda *_: os.abort())
    )
    start_ray(num_cpus=2)
    assert signal.getsignal(signal.SIGTERM) is before


def test_start_ray_says_that_its_token_cannot_be_kept(
    asked: list[dict[str, object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "file" / "token"))
    with pytest.raises(ClusterError, match="Set RAY_AUTH_TOKEN_PATH to a place") as caught:
        start_ray(num_cpus=2)
    assert int(caught.value.exit_code) == 77
    assert asked == []


def test_session_ends_the_ray_that_it_started_and_no_other(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    with ray_session(num_cpus=2):
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0})
        with ray_session(num_cpus=3):
            pass
        with (
            pytest.raises(ClusterError, match=r"has 3 CPUs, but .* need 4"),
            ray_session(num_cpus=4),
        ):
            pass
        assert ended == []
    assert ended == [True]
    assert len(asked) == 1


def test_session_ends_its_ray_after_an_error(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    with pytest.raises(KeyError, match="inside"), ray_session(num_cpus=2):
        raise KeyError("inside")
    assert ended == [True]


def test_quiet_ray_switches_its_bars_off() -> None:
    quiet_ray()
    assert ray.data.DataContext.get_current().enable_progress_bars is False
    assert not logging.getLogger("ray.train").isEnabledFor(logging.WARNING)


def test_a_process_that_is_no_job_attaches_to_nothing(
    asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match="this is no job of a cluster") as caught:
        attach_ray()
    assert caught.value.exit_code == ExitCode.NO_CLUSTER
    assert asked == []


def test_a_job_attaches_to_its_cluster_and_waits_for_nodes(
    asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    made: list[str] = []
    helpers = ("autoscaling_coordinator", "stats_actor", "actor_location_tracker")
    for name in helpers:  # made here, on the head, they keep no other node from being idle
        monkeypatch.setattr(runtime, f"get_or_create_{name}", partial(made.append, name))
    os.environ.pop("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", None)
    with ray_session(num_cpus=10_000, attach=True) as url:
        assert url is None
        assert Path.cwd() == Path("/")  # Ray may delete the job's own folder
    assert sorted(made) == sorted(helpers)
    assert [options["address"] for options in asked] == ["auto"]
    assert float(os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]) >= 600
    assert hears_of_drained_nodes()


def test_the_dashboard_is_told_and_stays_on_the_loopback(
    token: Path, asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started:
        dashboard_url = "127.0.0.1:8265"

    def init(**options: object) -> Started:
        asked.append(options)
        return Started()

    monkeypatch.setattr(ray, "init", init)
    assert start_ray(num_cpus=2, dashboard=True) == "http://127.0.0.1:8265"
    assert asked[0]["include_dashboard"] is True
    assert asked[0]["dashboard_host"] == "127.0.0.1"


def test_an_elastic_run_asks_anew_soon(asked: list[dict[str, object]]) -> None:
    expect_lost_nodes()
    assert float(os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]) <= 15
    assert asked == []


def test_a_trial_on_a_cluster_gets_its_settings_whatever_room_there_is(
    asked: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial is a process of the cluster: it does not inherit what its search has set."""
    monkeypatch.delitem(os.environ, "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    monkeypatch.setattr(ray, "shutdown", None)  # nor is it ended
    with ray_session(num_cpus=10_000, attach=True) as url:
        assert url is None
    assert float(os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]) >= 600
    assert asked == []


@pytest.mark.parametrize(
    ("most", "growth"),
    [(None, {}), ({"CPU": 64, "GPU": 8, "memory": 4}, {"CPU": 62, "GPU": 8, "memory": 0})],
)
def test_a_cluster_tells_what_it_may_still_add(
    monkeypatch: pytest.MonkeyPatch, most: dict[str, float] | None, growth: dict[str, float]
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "memory": 9.0})
    monkeypatch.setattr(state, "get_max_resources_from_cluster_config", lambda: most)
    assert possible_growth() == growth
