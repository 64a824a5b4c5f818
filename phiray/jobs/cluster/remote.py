"""Run a command of phiray on a cluster, through Ray's Jobs API, and follow it from here.

    submit(command, address=..., display=...) -> exit code
    follow / stop / list_jobs

Source: Ray's JobSubmissionClient; the name of the run, search or evaluation is the submission id,
so that a repeated command follows the job that is there. Never `ray://`: with it, a laptop that
closes its lid ends the run.
Limits: the cluster's image must hold this version of phiray; only settings are sent.
"""

import asyncio
import hashlib
import json
import shlex
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from phiray.config.stages import ATTEMPT
from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.jobs.cluster.connect import connect
from phiray.jobs.cluster.output import JobOutput
from phiray.jobs.display import Display

START_SECONDS = 60.0
"""A head that has just started answers before it can take a job."""
_NOT_READY = "No available agent"
_TAKEN = "already exists"
"""How the Jobs API words that another command has submitted a job of that id meanwhile."""
SETTINGS_NAME = "settings.yaml"
RECONNECTIONS = 5
"""To a job whose output broke off, without a line in between, before it is followed no longer."""
_RECONNECT_SECONDS = 2.0
_NAME, _DIGEST = "phiray_name", "phiray_command"
"""Keys in a job's metadata."""
_LOST = (RuntimeError, OSError, aiohttp.ClientError)
"""What the Jobs API raises where a connection, or the head behind it, is gone."""


@dataclass(frozen=True)
class RemoteJob:
    """One job of phiray's on a cluster."""

    name: str
    """Of the run, search or evaluation."""
    submission_id: str
    """The name, or that with the number of a later attempt."""
    status: str
    command: str
    digest: str
    """As in `RemoteCommand`."""


@dataclass(frozen=True)
class RemoteCommand:
    """A command of phiray's that a cluster is to run."""

    words: Sequence[str]
    """What follows `phiray`; `--config` and `--address` are added."""
    name: str
    """Of the run, search or evaluation: the same name means the same work."""
    settings: str | None = None
    """All settings as YAML, for `--config`; nothing else is sent."""
    first_flags: Sequence[str] = ()
    """Added where no job of that name is there."""
    later_flags: Sequence[str] = ()
    """Added where one was there."""
    is_repeated: bool = False
    """Whether it is run again after it succeeded, although nothing about it changed."""

    @property
    def digest(self) -> str:
        """What tells it from another command of that name."""
        told = json.dumps([list(self.words), self.settings])
        return hashlib.sha256(told.encode()).hexdigest()


def submit(command: RemoteCommand, *, address: str, display: Display) -> int:
    """Run a command on a cluster, or follow the job of that name which is there already.

    A job that ended otherwise than well, or was another command, is followed by a next attempt:
    what may be gone on with, and how, the command itself decides there.

    Args:
        command: to be run.
        address: of the cluster's dashboard, `http://` or `https://`.
        display: told of progress, and of what the job prints.

    Returns:
        The exit code of the command on the cluster.

    Raises:
        ClusterError: 69 if nothing answers there, 77 if it does not take the token.
        ConfigError: if another command of that name is running.
    """
    client, name = connect(address), command.name
    attempts = _attempts(client, name)
    newest = attempts[-1] if attempts else None
    is_same = newest is not None and newest.digest == command.digest
    if newest is not None and not JobStatus(newest.status).is_terminal():
        if not is_same:
            raise ConfigError(
                f"{name} is on {address} already ({newest.status}), with other settings. The same "
                f"name means the same work. Wait for its end, or end it: phiray stop {name} "
                f"--address {address}. A run or a search may also be named otherwise, e.g. --set "
                f"run.name={name}-2."
            )
        display.note(f"{name} is there already ({newest.status}); following it.")
        return _follow(client, newest, address=address, display=display)
    succeeded = newest is not None and newest.status == JobStatus.SUCCEEDED
    if succeeded and is_same and not command.is_repeated:
        display.note(
            f"{name} is already complete on {address}. `phiray logs {name} --address {address}` "
            "shows what it printed."
        )
        return 0
    submission_id = f"{name}{ATTEMPT}{len(attempts) + 1}" if attempts else name
    with tempfile.TemporaryDirectory(prefix="phiray-job-") as folder:
        is_taken = not _send(
            client,
            _entrypoint(command, folder=Path(folder), is_first=not attempts),
            submission_id=submission_id,
            folder=folder,
            metadata={_NAME: name, _DIGEST: command.digest},
        )
    if is_taken:
        if submission_id not in {job.submission_id for job in _attempts(client, name)}:
            raise ConfigError(
                f"{submission_id} is on {address} already, as the id of another job. It must be "
                "free. Name the run or search otherwise, or delete that job."
            )
        return submit(command, address=address, display=display)
    display.note(f"{name}: submitted to {address}")
    return _follow(client, _newest(client, name), address=address, display=display)


def _entrypoint(command: RemoteCommand, *, folder: Path, is_first: bool) -> str:
    """Write the settings into the folder that goes with the job, and return what it runs."""
    words = ["python", "-m", "phiray", *command.words]
    if command.settings is not None:
        (folder / SETTINGS_NAME).write_text(command.settings, encoding="utf-8")
        words += ["--config", SETTINGS_NAME]
    words += command.first_flags if is_first else command.later_flags
    return shlex.join([*words, "--address", "auto"])


def follow(name: str, *, address: str, display: Display) -> int:
    """Show what a job prints, from its start, until it ends.

    Returns:
        Its exit code.
    """
    client = connect(address)
    return _follow(client, _newest(client, name), address=address, display=display)


def stop(name: str, *, address: str) -> bool:
    """Ask a job to stop; a run or a search stays resumable.

    Returns:
        Whether there was anything to stop.
    """
    client = connect(address)
    return bool(client.stop_job(_newest(client, name).submission_id))


def list_jobs(address: str) -> list[RemoteJob]:
    """List phiray's jobs on a cluster, oldest first."""
    return _jobs(connect(address))


def _jobs(client: JobSubmissionClient) -> list[RemoteJob]:
    found = [job for job in client.list_jobs() if _NAME in (job.metadata or {})]
    found.sort(key=lambda job: job.start_time or 0)
    return [
        RemoteJob(
            name=job.metadata[_NAME],
            submission_id=str(job.submission_id),
            status=JobStatus(job.status).value,
            command=job.entrypoint,
            digest=job.metadata.get(_DIGEST, ""),
        )
        for job in found
    ]


def _attempts(client: JobSubmissionClient, name: str) -> list[RemoteJob]:
    return [job for job in _jobs(client) if job.name == name]


def _newest(client: JobSubmissionClient, name: str) -> RemoteJob:
    attempts = _attempts(client, name)
    if not attempts:
        raise ClusterError(
            f"There is no job of the name {name} on this cluster. `phiray jobs` lists those that "
            "there are. Correct the name.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return attempts[-1]


def _send(
    client: JobSubmissionClient,
    entrypoint: str,
    *,
    submission_id: str,
    folder: str,
    metadata: dict[str, str],
) -> bool:
    """Hand a job over; a cluster that has only just started is given time.

    Returns:
        False if another command has submitted a job of that id in the meantime.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.submit_job(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env={"working_dir": folder},
                metadata=metadata,
            )
        except RuntimeError as error:
            if _TAKEN in str(error) and submission_id in str(error):
                return False
            if _NOT_READY not in str(error):
                raise ClusterError(
                    f"The cluster did not take {submission_id}: {error}. It must run Ray 2.60 as "
                    "this machine does. Look at its dashboard."
                ) from error
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"The cluster has taken no job for {START_SECONDS:.0f} s: {error}. Its head "
                    "must run an agent. Look at its dashboard."
                ) from error
            time.sleep(1.0)
        else:
            return True


def _follow(client: JobSubmissionClient, job: RemoteJob, *, address: str, display: Display) -> int:
    run, output, failures = job.name, JobOutput(display), 0
    mend = (
        f"`phiray logs {run} --address {address}` shows it again, `phiray stop {run} --address "
        f"{address}` ends it."
    )
    try:
        while failures <= RECONNECTIONS:
            before, info, is_silent = output.num_lines, None, False
            try:
                connect(address)  # it answers within seconds or not at all; Ray's client may hang
                info = _read(client, job, output)
                is_silent = info is None
            except ClusterError as error:
                if error.exit_code == ExitCode.PERMISSION:
                    raise
                if not failures:
                    display.note(f"{run}: {address} does not answer; trying again")
            except _LOST:
                pass
            if info is not None and JobStatus(info.status).is_terminal():
                return _ended(run, info, address=address)
            failures = 0 if is_silent or output.num_lines > before else failures + 1
            time.sleep(_RECONNECT_SECONDS)
    except (KeyboardInterrupt, SystemExit):
        display.note(f"{run}: no longer followed; it goes on. {mend}")
        raise
    raise ClusterError(
        f"{address} answers no more. {run} is no longer followed; it goes on if its head does. "
        f"Look at the head, or its tunnel; then {mend}"
    )


def _read(client: JobSubmissionClient, job: RemoteJob, output: JobOutput) -> JobDetails | None:
    """Show what a job prints; return what became of it, or None if it is silent for so long."""
    if asyncio.run(output.show(client.tail_job_logs(job.submission_id))):
        return client.get_job_info(job.submission_id)
    return None


def _ended(run: str, info: JobDetails, *, address: str) -> int:
    """Return the exit code of a job that ended."""
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.driver_exit_code:
        return int(info.driver_exit_code)
    told = info.message or "no reason was given"
    raise ClusterError(
        f"{run} ended as {info.status} on {address}: {told.rstrip('.')}. It was to end by itself. "
        "The same command goes on from where it was.",
        exit_code=ExitCode.RESUMABLE,
    )
