import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.job_submission import JobStatus

from phiray.config.load import load_config
from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.jobs import remote
from phiray.jobs.remote import check_remote_paths, connect, list_jobs, stop, submit
from tests.displays import SilentDisplay

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
    return path


def test_a_cluster_that_takes_the_token_is_connected_to(address: str, token: Path) -> None:
    assert connect(address + "/")


@pytest.mark.parametrize("content", ["b" * 64, "", None])
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
        ("http://head.example:8265", "the token would travel in the open"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        connect(address)
    assert caught.value.exit_code == ExitCode.USAGE


class Job:
    """A job as the Jobs API tells of it."""

    def __init__(self, submission_id: str, status: str, start_time: int) -> None:
        self.submission_id, self.status, self.start_time = submission_id, status, start_time
        self.metadata = {"phiray_run": submission_id}
        self.entrypoint, self.message = "python -m phiray", None
        self.driver_exit_code = 0 if status == "SUCCEEDED" else 75


class Client:
    """A Jobs API that ends each job at once, and takes each id once."""

    def __init__(self, *jobs: Job, ending: str = "SUCCEEDED") -> None:
        self.jobs = {job.submission_id: job for job in jobs}
        self.ending = ending
        self.submitted: list[dict[str, object]] = []
        self.stopped: list[str] = []

    def list_jobs(self) -> list[Job]:
        return list(self.jobs.values())

    def submit_job(self, **options: object) -> None:
        name = str(options["submission_id"])
        assert name not in self.jobs
        folder = Path(str(dict(options["runtime_env"])["working_dir"]))  # type: ignore[call-overload]
        options["files"] = {path.name: path.read_text() for path in folder.iterdir()}
        self.submitted.append(options)
        self.jobs[name] = Job(name, self.ending, len(self.jobs))

    async def tail_job_logs(self, name: str) -> "object":
        for line in ("one\n", "two\n"):
            yield line

    def get_job_info(self, name: str) -> Job:
        return self.jobs[name]

    def stop_job(self, name: str) -> bool:
        self.stopped.append(name)
        return not JobStatus(self.jobs[name].status).is_terminal()


def give(monkeypatch: pytest.MonkeyPatch, client: Client) -> Client:
    monkeypatch.setattr(remote, "connect", lambda _: client)
    return client


def send(name: str = "run") -> int:
    return submit(
        ["train", "scratch"],
        name=name,
        settings="stage: scratch\n",
        address="http://127.0.0.1:1",
        display=SilentDisplay(),
    )


def test_settings_alone_are_sent_and_the_exit_code_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = give(monkeypatch, Client())
    assert send() == 0
    (job,) = client.submitted
    assert job["files"] == {"settings.yaml": "stage: scratch\n"}
    assert job["submission_id"] == "run"
    expected = "python -m phiray train scratch --config settings.yaml --address auto"
    assert job["entrypoint"] == expected
    failing = give(monkeypatch, Client(ending="FAILED"))
    assert send() == 75
    assert len(failing.submitted) == 1


def test_a_run_that_is_there_is_followed_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in ("SUCCEEDED", "RUNNING", "PENDING"):
        client = give(monkeypatch, Client(Job("run", status, 0)))
        client.jobs["run"].driver_exit_code = 0
        if status == "SUCCEEDED":
            assert send() == 0
        else:
            with pytest.raises(ClusterError, match="ended as"):  # it never ends here
                send()
        assert client.submitted == []


def test_a_run_that_failed_goes_on_as_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    client = give(monkeypatch, Client(Job("run", "FAILED", 0), Job("other", "RUNNING", 1)))
    assert send() == 0
    (job,) = client.submitted
    assert job["submission_id"] == "run.attempt-2"
    assert "--resume" in str(job["entrypoint"])


def test_the_newest_attempt_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Job("run", "FAILED", 0), Job("run.attempt-2", "RUNNING", 1)
    client = give(monkeypatch, Client(*jobs))
    assert stop("run", address="x") is True
    assert client.stopped == ["run.attempt-2"]
    assert [job.name for job in list_jobs("x")] == ["run", "run.attempt-2"]
    with pytest.raises(ClusterError, match="no job of the run nobody") as caught:
        stop("nobody", address="x")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_paths_of_this_machine_alone_are_refused() -> None:
    config = load_config("tiny", "align")
    with pytest.raises(ConfigError, match=r"run\.output_dir is 'runs'; data\.root is"):
        check_remote_paths(config)
    places = ["run.output_dir=/s/runs", "data.root=/s/data", "language_model=/s/runs/scratch"]
    check_remote_paths(load_config("tiny", "align", overrides=places))
