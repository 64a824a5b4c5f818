"""Run a command of phiray on a cluster, through Ray's Jobs API, and follow it from here.

    submit_training(config, address=..., display=...) -> exit code
    follow / stop / list_jobs

Source: Ray's JobSubmissionClient; the run's name is the submission id, so that a repeated command
follows the job that is there. Never `ray://`: with it, a laptop that closes its lid ends the run.
Limits: the cluster's image must hold this version of phiray; data, models and run.output_dir are
paths of the cluster, and with several nodes lie on storage that all of them share.
"""

import asyncio
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from phiray.config.show import yaml_from_config
from phiray.config.stages import ATTEMPT, AlignConfig, AnyStageConfig, InstructConfig
from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.jobs.connect import connect
from phiray.jobs.display import Display
from phiray.storage import is_url

START_SECONDS = 60.0
"""A head that has just started answers before it can take a job."""
_NOT_READY = "No available agent"
SETTINGS_NAME = "settings.yaml"
RECONNECTIONS = 5
"""To a job whose output broke off, without a line in between, before it is followed no longer."""
_RECONNECT_SECONDS = 2.0
_RUN, _SETTINGS = "phiray_run", "phiray_settings"
"""Keys in a job's metadata."""
_LOST = (RuntimeError, OSError, aiohttp.ClientError)
"""What the Jobs API raises where a connection, or the head behind it, is gone."""


@dataclass(frozen=True)
class RemoteJob:
    """One job of phiray's on a cluster."""

    name: str
    """Of the run."""
    submission_id: str
    """The run's name, or that with the number of a later attempt."""
    status: str
    command: str
    settings_sha256: str


def submit(
    words: Sequence[str],
    *,
    name: str,
    settings: str,
    address: str,
    display: Display,
    resume: bool = False,
) -> int:
    """Run a command on a cluster, or follow the job of that name which is there already.

    Args:
        words: of the command, after `phiray`; `--config` and `--address` are added.
        name: of the run.
        settings: all of them, as YAML; nothing else is sent.
        address: of the cluster's dashboard, `http://` or `https://`.
        display: told of progress, and of what the job prints.
        resume: go on with a run that the cluster's storage holds. A job that follows one which
            failed does so by itself, if there is anything to go on with.

    Returns:
        The exit code of the command on the cluster.

    Raises:
        ClusterError: 69 if nothing answers there, 77 if it does not take the token.
        ConfigError: if that run is there, complete or running, with other settings.
    """
    client = connect(address)
    digest = hashlib.sha256(settings.encode()).hexdigest()
    attempts = _attempts(client, name)
    newest = attempts[-1] if attempts else None
    is_over = newest is not None and JobStatus(newest.status).is_terminal()
    if newest is not None and not (is_over and newest.status != JobStatus.SUCCEEDED):
        if newest.settings_sha256 != digest:
            raise ConfigError(
                f"{name} is on {address} already ({newest.status}), with other settings. The same "
                f"name means the same run. Name this one otherwise, e.g. --set run.name={name}-2."
            )
        if is_over:
            display.note(f"{name} is already complete on {address}.")
            return 0
        display.note(f"{name} is there already ({newest.status}); following it.")
        return _follow(client, newest, address=address, display=display)
    submission_id = f"{name}{ATTEMPT}{len(attempts) + 1}" if attempts else name
    flags = ["--auto-resume"] if attempts else ["--resume"] if resume else []
    entrypoint = ["python", "-m", "phiray", *words, "--config", SETTINGS_NAME, *flags]
    with tempfile.TemporaryDirectory(prefix="phiray-job-") as folder:
        (Path(folder) / SETTINGS_NAME).write_text(settings, encoding="utf-8")
        _send(
            client,
            " ".join([*entrypoint, "--address", "auto"]),
            submission_id=submission_id,
            folder=folder,
            metadata={_RUN: name, _SETTINGS: digest},
        )
    display.note(f"{name}: submitted to {address}")
    return _follow(client, _newest(client, name), address=address, display=display)


def submit_training(
    config: AnyStageConfig, *, address: str, display: Display, resume: bool = False
) -> int:
    """Train a stage on a cluster, or follow the run of that name which is there already.

    Returns:
        The exit code of `phiray train` there.

    Raises:
        ConfigError: if a path is that of this machine alone.
        ClusterError: 69 if nothing answers there, 77 if it does not take the token.
    """
    check_remote_paths(config)
    return submit(
        ["train", config.stage],
        name=config.run.name,
        settings=yaml_from_config(config, comments=False),
        address=address,
        display=display,
        resume=resume,
    )


def check_remote_paths(config: AnyStageConfig) -> None:
    """Refuse paths that would mean another place on the cluster, or one that goes with the job.

    Raises:
        ConfigError: with all of them.
    """
    paths = {"run.output_dir": config.run.output_dir, "data.root": config.data.root}
    if isinstance(config, AlignConfig):
        paths["language_model"] = config.language_model
        if os.sep in config.vision.weights:  # else it is one of open_clip's tags
            paths["vision.weights"] = config.vision.weights
    if isinstance(config, InstructConfig):
        paths["checkpoint"] = config.checkpoint
    relative = [
        f"{key} is {path!r}"
        for key, path in paths.items()
        if not (Path(path).is_absolute() or (key == "data.root" and is_url(path)))
    ]
    if relative:
        raise ConfigError(
            f"{'; '.join(relative)}. On a cluster, paths must be absolute, and on storage that all "
            "of its nodes share. Set them, e.g. --set run.output_dir=/mnt/shared/runs."
        )


def follow(name: str, *, address: str, display: Display) -> int:
    """Show what a job prints, from its start, until it ends.

    Returns:
        Its exit code.
    """
    client = connect(address)
    return _follow(client, _newest(client, name), address=address, display=display)


def stop(name: str, *, address: str) -> bool:
    """Ask a job to stop; its run stays resumable.

    Returns:
        Whether there was anything to stop.
    """
    client = connect(address)
    return bool(client.stop_job(_newest(client, name).submission_id))


def list_jobs(address: str) -> list[RemoteJob]:
    """List phiray's jobs on a cluster, oldest first."""
    return _jobs(connect(address))


def _jobs(client: JobSubmissionClient) -> list[RemoteJob]:
    found = [job for job in client.list_jobs() if _RUN in (job.metadata or {})]
    found.sort(key=lambda job: job.start_time or 0)
    return [
        RemoteJob(
            name=job.metadata[_RUN],
            submission_id=str(job.submission_id),
            status=JobStatus(job.status).value,
            command=job.entrypoint,
            settings_sha256=job.metadata.get(_SETTINGS, ""),
        )
        for job in found
    ]


def _attempts(client: JobSubmissionClient, name: str) -> list[RemoteJob]:
    return [job for job in _jobs(client) if job.name == name]


def _newest(client: JobSubmissionClient, name: str) -> RemoteJob:
    attempts = _attempts(client, name)
    if not attempts:
        raise ClusterError(
            f"There is no job of the run {name} on this cluster. `phiray jobs` lists those that "
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
) -> None:
    """Hand a job over; a cluster that has only just started is given time."""
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
            return


def _follow(client: JobSubmissionClient, job: RemoteJob, *, address: str, display: Display) -> int:
    run, shown, failures = job.name, _Shown(display), 0
    left = (
        f"{run}: no longer followed; it goes on. `phiray logs {run} --address {address}` shows it "
        f"again, `phiray stop {run} --address {address}` ends it."
    )
    try:
        while failures <= RECONNECTIONS:
            before = shown.num_lines
            try:
                asyncio.run(shown.show(client.tail_job_logs(job.submission_id)))
                info = client.get_job_info(job.submission_id)
            except _LOST:
                pass
            else:
                if JobStatus(info.status).is_terminal():
                    return _ended(run, info, address=address)
            failures = 0 if shown.num_lines > before else failures + 1
            time.sleep(_RECONNECT_SECONDS)
    except KeyboardInterrupt:
        display.note(left)
        raise
    raise ClusterError(f"{address} answers no more. {left}")


def _ended(run: str, info: JobDetails, *, address: str) -> int:
    """Return the exit code of a job that ended."""
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.driver_exit_code:
        return int(info.driver_exit_code)
    raise ClusterError(
        f"{run} ended as {info.status} on {address}: {info.message or 'no reason was given'}. It "
        "was to end by itself. The same command goes on from its newest checkpoint.",
        exit_code=ExitCode.RESUMABLE,
    )


class _Shown:
    """Shows a job's output line by line; on another connection, what came before is passed over."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self.num_lines = 0

    async def show(self, chunks: AsyncIterator[str]) -> None:
        """Show the output from its start on; it comes in chunks that may end within a line."""
        rest, seen = "", 0
        async for chunk in chunks:
            *lines, rest = f"{rest}{chunk}".split("\n")
            for line in lines:
                seen += 1
                self._show_line(line, number=seen)
        if rest:
            self._show_line(rest, number=seen + 1)

    def _show_line(self, line: str, *, number: int) -> None:
        if number > self.num_lines:
            self.num_lines = number
            self._display.note(line)
