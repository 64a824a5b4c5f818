import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from ray.job_submission import JobStatus

from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.jobs.cluster import output, remote
from phiray.jobs.cluster.remote import RemoteCommand, follow, list_jobs, stop, submit
from tests.displays import SilentDisplay

SETTINGS = "stage: scratch\n"
TRAIN = RemoteCommand(
    ["train", "scratch"], name="run", settings=SETTINGS, later_flags=["--auto-resume"]
)


class Job:
    """A job as the Jobs API tells of it."""

    def __init__(
        self, submission_id: str, status: str, start_time: int, *, digest: str = TRAIN.digest
    ) -> None:
        self.submission_id, self.status, self.start_time = submission_id, status, start_time
        run = submission_id.partition(".attempt-")[0]
        self.metadata = {"phiray_name": run, "phiray_command": digest}
        self.entrypoint, self.message = "python -m phiray", None

    @property
    def driver_exit_code(self) -> int:
        return 0 if self.status == "SUCCEEDED" else 75


class Client:
    """A Jobs API that takes each id once; a job ends once its output was read to the end."""

    def __init__(
        self, *jobs: Job, ending: str = "SUCCEEDED", breaks: int = 0, hangs: int = 0
    ) -> None:
        self.jobs = {job.submission_id: job for job in jobs}
        self.ending, self.breaks, self.hangs = ending, breaks, hangs
        self.is_overtaken = False
        """Whether somebody else submits the same a moment before."""
        self.submitted: list[dict[str, object]] = []
        self.stopped: list[str] = []

    def list_jobs(self) -> list[Job]:
        return list(self.jobs.values())

    def submit_job(self, **options: object) -> None:
        name = str(options["submission_id"])
        assert name not in self.jobs
        if self.is_overtaken:
            self.jobs[name] = Job(name, "RUNNING", len(self.jobs))
            raise RuntimeError(
                f"Request failed with status code 500: ValueError: Job with submission_id {name} "
                "already exists. Please use a different submission_id."
            )
        folder = Path(str(dict(options["runtime_env"])["working_dir"]))  # type: ignore[call-overload]
        options["files"] = {path.name: path.read_text() for path in folder.iterdir()}
        self.submitted.append(options)
        self.jobs[name] = Job(name, "RUNNING", len(self.jobs))
        self.jobs[name].metadata = dict(options["metadata"])  # type: ignore[call-overload]

    async def tail_job_logs(self, name: str) -> AsyncIterator[str]:
        yield "one\ntw"
        if self.breaks:
            self.breaks -= 1
            raise RuntimeError("WebSocket connection closed unexpectedly")
        if self.hangs:
            self.hangs -= 1
            await asyncio.Event().wait()
        yield "o\nthree"
        if not JobStatus(self.jobs[name].status).is_terminal():
            self.jobs[name].status = self.ending

    def get_job_info(self, name: str) -> Job:
        return self.jobs[name]

    def stop_job(self, name: str) -> bool:
        self.stopped.append(name)
        return not JobStatus(self.jobs[name].status).is_terminal()


class Lines(SilentDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def give(monkeypatch: pytest.MonkeyPatch, client: Client) -> Client:
    monkeypatch.setattr(remote, "connect", lambda _: client)
    monkeypatch.setattr(remote, "_RECONNECT_SECONDS", 0.0)
    return client


def send(command: RemoteCommand = TRAIN, *, display: Lines | None = None) -> int:
    return submit(command, address="http://127.0.0.1:1", display=display or Lines())


def test_settings_alone_are_sent_and_the_exit_code_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, display = give(monkeypatch, Client()), Lines()
    assert send(display=display) == 0
    assert display.said[-3:] == ["one", "two", "three"]
    (job,) = client.submitted
    assert job["files"] == {"settings.yaml": SETTINGS}
    assert job["submission_id"] == "run"
    expected = "python -m phiray train scratch --config settings.yaml --address auto"
    assert job["entrypoint"] == expected
    failing = give(monkeypatch, Client(ending="FAILED"))
    assert send() == 75
    assert len(failing.submitted) == 1


@pytest.mark.parametrize("status", ["SUCCEEDED", "RUNNING", "PENDING"])
def test_a_run_that_is_there_is_followed_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    client = give(monkeypatch, Client(Job("run", status, 0)))
    assert send() == 0
    assert client.submitted == []


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_run_that_goes_on_with_other_settings_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    client = give(monkeypatch, Client(Job("run", status, 0, digest="other")))
    with pytest.raises(ConfigError, match=f"already \\({status}\\), with other settings"):
        send()
    assert client.submitted == []


def test_what_a_complete_run_makes_of_other_settings_is_said_on_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run refuses them, and says which; a search may go on with a higher limit."""
    client = give(monkeypatch, Client(Job("run", "SUCCEEDED", 0, digest="other")))
    assert send() == 0
    assert client.submitted[0]["submission_id"] == "run.attempt-2"


def test_what_is_repeated_is_followed_while_it_runs_and_run_again_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = RemoteCommand(["eval", "lm", "/s/my runs/a"], name="eval-lm-a", is_repeated=True)
    client = give(monkeypatch, Client(Job("eval-lm-a", "RUNNING", 0, digest=command.digest)))
    assert send(command) == 0
    assert client.submitted == []
    assert send(command) == 0
    (job,) = client.submitted
    assert job["submission_id"] == "eval-lm-a.attempt-2"
    assert job["entrypoint"] == "python -m phiray eval lm '/s/my runs/a' --address auto"
    assert job["files"] == {}


def test_a_run_that_failed_goes_on_as_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on if there is anything to go on with: the first may have failed before."""
    failed = Job("run", "FAILED", 0, digest="since corrected")
    client = give(monkeypatch, Client(failed, Job("other", "RUNNING", 1)))
    assert send() == 0
    (job,) = client.submitted
    assert job["submission_id"] == "run.attempt-2"
    assert "--auto-resume" in str(job["entrypoint"])


def test_a_run_of_another_head_is_gone_on_with_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    client = give(monkeypatch, Client())
    assert send(replace(TRAIN, first_flags=["--resume"])) == 0
    assert " --resume " in str(client.submitted[0]["entrypoint"])


def test_output_that_breaks_off_is_taken_up_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    client, display = Client(Job("run", "RUNNING", 0), breaks=3), Lines()
    give(monkeypatch, client)
    assert follow("run", address="x", display=display) == 0
    assert display.said == ["one", "two", "three"]


def test_of_two_that_submit_at_once_the_second_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    client, display = give(monkeypatch, Client()), Lines()
    client.is_overtaken = True
    assert send(display=display) == 0
    assert "following it" in display.said[0]
    assert (list(client.jobs), client.submitted) == (["run"], [])


def test_an_id_that_a_job_of_another_name_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that was submitted by Ray's own command."""
    client = give(monkeypatch, Client())
    client.is_overtaken = True
    monkeypatch.setattr(client, "list_jobs", list)
    with pytest.raises(ConfigError, match="already, as the id of another job"):
        send()


def test_a_connection_that_hangs_is_taken_up_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """More often than a connection may break: a job may be silent for long."""
    client, display = Client(Job("run", "RUNNING", 0), hangs=remote.RECONNECTIONS + 2), Lines()
    give(monkeypatch, client)
    monkeypatch.setattr(output, "SILENT_SECONDS", 0.02)
    assert follow("run", address="x", display=display) == 0
    assert display.said == ["one", "two", "three"]


@pytest.mark.parametrize("code", [ExitCode.NO_CLUSTER, ExitCode.PERMISSION])
def test_a_head_that_hangs_is_told_of(monkeypatch: pytest.MonkeyPatch, code: ExitCode) -> None:
    """With another token it answers, and need not be asked again."""
    client, display = give(monkeypatch, Client(Job("run", "RUNNING", 0), hangs=1)), Lines()
    monkeypatch.setattr(output, "SILENT_SECONDS", 0.02)
    asked: list[str] = []

    def connect(address: str) -> Client:
        asked.append(address)
        if len(asked) > 2:  # to follow it, and to read its output
            raise ClusterError("nothing there", exit_code=code)
        return client

    monkeypatch.setattr(remote, "connect", connect)
    is_denied = code == ExitCode.PERMISSION
    with pytest.raises(ClusterError, match="nothing there" if is_denied else "answers no more"):
        follow("run", address="x", display=display)
    assert display.said == ["one", *([] if is_denied else ["run: x does not answer; trying again"])]
    assert len(asked) == (3 if is_denied else 3 + remote.RECONNECTIONS)


def test_a_head_that_answers_no_more_is_said_and_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    give(monkeypatch, Client(Job("run", "RUNNING", 0), breaks=99))
    with pytest.raises(
        ClusterError, match=r"goes on if its head does\..* `phiray logs run"
    ) as caught:
        follow("run", address="x", display=Lines())
    assert caught.value.exit_code == ExitCode.NO_CLUSTER


def test_who_is_ended_while_following_says_that_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, display = give(monkeypatch, Client(Job("run", "RUNNING", 0))), Lines()

    def end(*_: object) -> None:
        raise SystemExit(ExitCode.TERMINATED)

    monkeypatch.setattr(client, "get_job_info", end)
    with pytest.raises(SystemExit, match="143"):
        follow("run", address="x", display=display)
    assert "it goes on" in display.said[-1]


def test_the_newest_attempt_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Job("run", "FAILED", 0), Job("run.attempt-2", "RUNNING", 1)
    client = give(monkeypatch, Client(*jobs))
    assert stop("run", address="x") is True
    assert client.stopped == ["run.attempt-2"]
    found = [(job.name, job.submission_id) for job in list_jobs("x")]
    assert found == [("run", "run"), ("run", "run.attempt-2")]
    with pytest.raises(ClusterError, match="no job of the name nobody") as caught:
        stop("nobody", address="x")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
