"""Run a command of phiray on a cluster, through Ray's Jobs API, and follow it from here.

    submit_training(config, address=..., display=...) -> exit code
    follow / stop / list_jobs

Source: Ray's JobSubmissionClient; the run's name is the submission id, so that a repeated command
follows the job that is there. Never `ray://`: with it, a laptop that closes its lid ends the run.
Limits: the cluster's image must hold this version of phiray; data, models and run.output_dir are
paths of the cluster, and with several nodes lie on storage that all of them share.
"""

import asyncio
import json
import logging
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ray.job_submission import JobStatus, JobSubmissionClient

from phiray.config.show import yaml_from_config
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.errors import ClusterError, ConfigError, ExitCode
from phiray.jobs.display import Display
from phiray.runtime import token_path

CONNECT_SECONDS = 5.0
"""Ray itself asks a dead address, or one with another token, for minutes."""
START_SECONDS = 60.0
"""A head that has just started answers before it can take a job."""
_NOT_READY = "No available agent"
SETTINGS_NAME = "settings.yaml"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_ATTEMPT = ".attempt-"
"""Ray takes a submission id once: a job that ended without success goes on as the next attempt."""


@dataclass(frozen=True)
class RemoteJob:
    """One job of phiray's on a cluster."""

    name: str
    status: str
    command: str


def submit(
    words: Sequence[str], *, name: str, settings: str, address: str, display: Display
) -> int:
    """Run a command on a cluster, or follow the job of that name which is there already.

    Args:
        words: of the command, after `phiray`; `--config` and `--address` are added.
        name: of the run.
        settings: all of them, as YAML; nothing else is sent.
        address: of the cluster's dashboard, `http://` or `https://`.
        display: told of progress, and of what the job prints.

    Returns:
        The exit code of the command on the cluster.

    Raises:
        ClusterError: 69 if nothing answers there, 77 if it does not take the token.
    """
    client = connect(address)
    attempts = _attempts(client, name)
    if attempts and attempts[-1].status == JobStatus.SUCCEEDED:
        display.note(f"{name} is already complete on {address}.")
        return 0
    if attempts and not JobStatus(attempts[-1].status).is_terminal():
        display.note(f"{name} is there already ({attempts[-1].status}); following it.")
        return _follow(client, attempts[-1].name, run=name, address=address, display=display)
    submission_id = f"{name}{_ATTEMPT}{len(attempts) + 1}" if attempts else name
    resume = ["--resume"] if attempts and words[0] == "train" else []
    entrypoint = ["python", "-m", "phiray", *words, "--config", SETTINGS_NAME, *resume]
    with tempfile.TemporaryDirectory(prefix="phiray-job-") as folder:
        (Path(folder) / SETTINGS_NAME).write_text(settings, encoding="utf-8")
        _send(
            client,
            " ".join([*entrypoint, "--address", "auto"]),
            submission_id=submission_id,
            folder=folder,
            run=name,
        )
    display.note(f"{name}: submitted to {address}")
    return _follow(client, submission_id, run=name, address=address, display=display)


def submit_training(config: AnyStageConfig, *, address: str, display: Display) -> int:
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
    )


def check_remote_paths(config: AnyStageConfig) -> None:
    """Refuse paths that would mean another place on the cluster, or one that goes with the job.

    Raises:
        ConfigError: with all of them.
    """
    paths = {"run.output_dir": config.run.output_dir, "data.root": config.data.root}
    if isinstance(config, AlignConfig):
        paths["language_model"] = config.language_model
    if isinstance(config, InstructConfig):
        paths["checkpoint"] = config.checkpoint
    relative = [f"{key} is {path!r}" for key, path in paths.items() if not Path(path).is_absolute()]
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
    return _follow(client, _newest(client, name).name, run=name, address=address, display=display)


def stop(name: str, *, address: str) -> bool:
    """Ask a job to stop; its run stays resumable.

    Returns:
        Whether there was anything to stop.
    """
    client = connect(address)
    return bool(client.stop_job(_newest(client, name).name))


def list_jobs(address: str) -> list[RemoteJob]:
    """List phiray's jobs on a cluster, oldest first."""
    return _jobs(connect(address))


def connect(address: str) -> JobSubmissionClient:
    """Connect to a cluster that answers, and takes our token, within seconds.

    Raises:
        ConfigError: if the address is none of a dashboard (2).
        ClusterError: 69 if nothing answers there, 77 if it does not take the token.
    """
    url = _check_address(address)
    token = read_token()
    request = urllib.request.Request(f"{url}/api/version")  # http or https, see above
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as answer:
            version = json.load(answer)["ray_version"]
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (401, 403):
            raise ClusterError(
                f"{url} does not take the token in {token_path()}. It must be the cluster's own. "
                "Copy that of its head, or set RAY_AUTH_TOKEN_PATH to it.",
                exit_code=ExitCode.PERMISSION,
            ) from error
        raise _no_cluster(url, f"answered {error.code}") from error
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "reason", None) or error
        raise _no_cluster(url, f"{reason}") from error
    assert version
    logging.getLogger("ray.dashboard").setLevel(logging.ERROR)
    logging.getLogger("ray._private.runtime_env").setLevel(logging.ERROR)
    return JobSubmissionClient(url, headers={"Authorization": f"Bearer {token}"})


def read_token() -> str:
    """Read the token that opens a cluster.

    Raises:
        ClusterError: 77 if there is none.
    """
    path = token_path()
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ClusterError(
            f"Ray's token {path} cannot be read: {error.strerror}. It must hold the cluster's "
            "token. Copy that of its head there, or set RAY_AUTH_TOKEN_PATH.",
            exit_code=ExitCode.PERMISSION,
        ) from error
    if not token:
        raise ClusterError(
            f"Ray's token {path} is empty. It must hold the cluster's token. Copy that of its "
            "head there, or set RAY_AUTH_TOKEN_PATH.",
            exit_code=ExitCode.PERMISSION,
        )
    return token


def _check_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"--address is {address!r}. It must be the address of a cluster's dashboard, such as "
            "http://127.0.0.1:8265 (through `ray dashboard` or an ssh tunnel).",
            exit_code=ExitCode.USAGE,
        )
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ConfigError(
            f"--address is {address}, where the token would travel in the open. It must be https, "
            "or a tunnel that ends on this machine: ssh -L 8265:127.0.0.1:8265 HEAD, and then "
            "--address http://127.0.0.1:8265.",
            exit_code=ExitCode.USAGE,
        )
    return address.rstrip("/")


def _no_cluster(url: str, why: str) -> ClusterError:
    return ClusterError(
        f"No Ray cluster at {url}: {why}. It must be the address of a dashboard that runs. Start "
        "the cluster, or its tunnel, and try again."
    )


def _jobs(client: JobSubmissionClient) -> list[RemoteJob]:
    found = [job for job in client.list_jobs() if "phiray_run" in (job.metadata or {})]
    found.sort(key=lambda job: job.start_time or 0)
    return [
        RemoteJob(str(job.submission_id), JobStatus(job.status).value, job.entrypoint)
        for job in found
    ]


def _attempts(client: JobSubmissionClient, name: str) -> list[RemoteJob]:
    jobs = _jobs(client)
    return [job for job in jobs if job.name.partition(_ATTEMPT)[0] == name]


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
    client: JobSubmissionClient, entrypoint: str, *, submission_id: str, folder: str, run: str
) -> None:
    """Hand a job over; a cluster that has only just started is given time."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.submit_job(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env={"working_dir": folder},
                metadata={"phiray_run": run},
            )
        except RuntimeError as error:
            if _NOT_READY not in str(error):
                raise ClusterError(
                    f"The cluster did not take the run {run}: {error}. It must run Ray 2.60 as "
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


def _follow(
    client: JobSubmissionClient, submission_id: str, *, run: str, address: str, display: Display
) -> int:
    async def show() -> None:
        async for lines in client.tail_job_logs(submission_id):
            for line in lines.splitlines():
                display.note(line)

    try:
        asyncio.run(show())
    except KeyboardInterrupt:
        display.note(
            f"{run}: no longer followed; it goes on. `phiray logs {run} --address {address}` shows "
            f"it again, `phiray stop {run} --address {address}` ends it."
        )
        raise
    info = client.get_job_info(submission_id)
    if info.status == JobStatus.SUCCEEDED:
        return 0
    if info.driver_exit_code:
        return int(info.driver_exit_code)
    raise ClusterError(
        f"{run} ended as {info.status} on {address}: {info.message or 'no reason was given'}. It "
        "was to end by itself. The same command goes on from its newest checkpoint.",
        exit_code=ExitCode.RESUMABLE,
    )
