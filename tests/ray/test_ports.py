"""What listens while a run trains on this machine: nothing that another machine could reach.

That of `phiray tune dashboard` is in `tests/unit/jobs/search/test_dashboard.py`.
"""

import threading
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from phiray.jobs.train import train_stage
from tests.displays import SilentDisplay
from tests.ray.run_builders import Inputs, build_scratch, shared_out

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
STEPS = 60
SECONDS_BETWEEN_LOOKS = 0.2


class PortWatch:
    """Looks at the sockets of this process and of all that it started, again and again."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str, int]] = set()
        """Process, address and port of all that listened."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "PortWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _follow(self) -> None:
        me = psutil.Process()
        while not self._done.wait(SECONDS_BETWEEN_LOOKS):
            for process in [me, *me.children(recursive=True)]:
                with suppress(psutil.Error):  # it has ended meanwhile
                    for socket in process.net_connections(kind="inet"):
                        if socket.status == psutil.CONN_LISTEN:
                            name, place = process.name(), socket.laddr
                            self.seen.add((name, place.ip, place.port))


def is_beyond_loopback(address: str) -> bool:
    found = ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)  # an IPv4 address on a socket of IPv6
    return not (mapped or found).is_loopback


def test_nothing_listens_beyond_the_loopback_while_a_run_trains(
    inputs: Inputs, shared_ray: None, tmp_path: Path
) -> None:
    config = shared_out(build_scratch(inputs, tmp_path), workers=2, accumulation=1)
    training = config.training.model_copy(update={"max_steps": STEPS})
    config = config.model_copy(update={"training": training})
    with PortWatch() as watch:
        train_stage(config, resume=False, display=SilentDisplay())
    names = {name.partition(".")[0] for name, _, _ in watch.seen}
    ray = {"gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent"}
    run = {"ray::TrainController", "ray::RayTrainWorker", "ray::MapWorker(MapBatches(RowReader))"}
    assert ray | run <= names
    assert {found for found in watch.seen if is_beyond_loopback(found[1])} == set()
