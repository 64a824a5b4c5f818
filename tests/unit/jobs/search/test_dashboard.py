import json
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from torch.utils.tensorboard import SummaryWriter

from phiray.errors import ClusterError, DataError, ExitCode
from phiray.jobs.search.dashboard import start_dashboard
from phiray.jobs.search.plan import PLAN_FILE, TRIALS_FOLDER

# of a package within TensorBoard
pytestmark = pytest.mark.filterwarnings("ignore:html5lib:DeprecationWarning")


@pytest.fixture
def search(tmp_path: Path) -> Path:
    (tmp_path / PLAN_FILE).write_text("[]")
    for name in ("trial-000", "trial-001"):
        with SummaryWriter(str(tmp_path / TRIALS_FOLDER / name / "tensorboard")) as writer:
            writer.add_scalar("validation/loss_nats_per_token", 1.5, 10)
    return tmp_path


@pytest.mark.slow
def test_tensorboard_answers_with_the_curve_of_every_trial(search: Path) -> None:
    url = start_dashboard(search, port=None).url
    assert url.startswith("http://127.0.0.1:")
    port = urlsplit(url).port
    sockets = psutil.Process().net_connections(kind="inet")
    assert {
        s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN and s.laddr.port == port
    } == {"127.0.0.1"}
    with urllib.request.urlopen(f"{url}data/plugin/scalars/tags", timeout=30) as answer:
        runs = json.load(answer)
    assert {run.split("/")[0] for run in runs} == {"trial-000", "trial-001"}
    assert all("validation/loss_nats_per_token" in tags for tags in runs.values())


def test_a_folder_without_a_search_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no search") as caught:
        start_dashboard(tmp_path, port=None)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_a_taken_port_is_told(search: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        with pytest.raises(ClusterError, match=f"cannot listen on port {port}"):
            start_dashboard(search, port=port)
