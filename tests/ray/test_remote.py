"""Runs, searches and evaluations on a cluster, through its Jobs API: real commands.

The cluster is a head without CPUs, as it is on a cloud, and one node, both on this machine. The
node has a mount namespace of its own, in which one folder is another one than for the head.
Takes six minutes, so it runs by `pytest -m cluster` alone.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from phiray.config.search import MoeSearch, SearchConfig
from phiray.config.show import yaml_from_config
from phiray.config.stages import AnyStageConfig, RunConfig, ScratchConfig
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.ray.head import Head, free_port, ray_head, ray_node
from tests.ray.run_builders import (
    Inputs,
    build_scratch,
    read_lines,
    shared_out,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
QUICK_SECONDS = 10
PATIENCE_SECONDS = 240


NODE_CPUS = 4
BIND = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh"]
"""Before a command: lets it see the first folder in place of the second."""


@dataclass(frozen=True)
class Unshared:
    """A folder that the node sees as another one."""

    path: Path
    is_so: bool
    """Whether this machine lets a process have a mount of its own."""


@pytest.fixture(scope="module")
def unshared(tmp_path_factory: pytest.TempPathFactory) -> Unshared:
    folder = tmp_path_factory.mktemp("disks")
    for name in ("of-head", "of-node"):
        (folder / name).mkdir()
    words = [*BIND, str(folder / "of-node"), str(folder / "of-head"), "true"]
    may = subprocess.run(words, capture_output=True, check=False).returncode == 0
    return Unshared(folder / "of-head", may)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, unshared: Unshared) -> Iterator[Head]:
    other = unshared.path.with_name("of-node")
    wrapper = [*BIND, str(other), str(unshared.path)] if unshared.is_so else []
    with (
        ray_head(tmp_path_factory.mktemp("head"), num_cpus=0) as head,
        ray_node(head, num_cpus=NODE_CPUS, wrapper=wrapper),
    ):
        yield head


def write_config(inputs: Inputs, out: Path, *, max_steps: int = 30) -> tuple[AnyStageConfig, Path]:
    config = shared_out(build_scratch(inputs, out), workers=2, accumulation=1)
    training = config.training.model_copy(update={"max_steps": max_steps})
    run = config.run.model_copy(update={"name": out.name})
    config = config.model_copy(update={"training": training, "run": run})
    file = out / "config.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(config_yaml(config))
    return config, file


def phiray(*words: str, head: Head) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "phiray", *words],
        env=head.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


def test_a_run_is_submitted_followed_and_finished_once(
    head: Head, inputs: Inputs, tmp_path: Path
) -> None:
    config, file = write_config(inputs, tmp_path / "remote-run")
    words = ["train", "scratch", "--config", str(file), "--address", head.url]
    first = phiray(*words, head=head)
    assert first.returncode == 0, first.stderr
    assert "step 30/30" in first.stderr
    assert len(read_lines(run_folder(config) / METRICS_NAME)) == 30
    second = phiray(*words, head=head)
    assert second.returncode == 0
    assert "already complete" in second.stderr
    assert jobs_of("remote-run", head=head) == [("remote-run", "SUCCEEDED")]


def test_ctrl_c_detaches_and_stop_leaves_a_resumable_run(
    head: Head, inputs: Inputs, tmp_path: Path
) -> None:
    config, file = write_config(inputs, tmp_path / "stopped-run", max_steps=20_000)
    words = ["train", "scratch", "--config", str(file), "--address", head.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "phiray", *words], env=head.environment, stderr=subprocess.PIPE
    )
    metrics = run_folder(config) / METRICS_NAME
    wait_for_lines(metrics, 15)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert b"it goes on" in told
    seen = len(read_lines(metrics))
    wait_for_lines(metrics, seen + 10)
    assert phiray("stop", "stopped-run", "--address", head.url, head=head).returncode == 0
    logs = phiray("logs", "stopped-run", "--address", head.url, head=head)
    assert logs.returncode in (75, 143), logs.stderr
    assert (run_folder(config) / "checkpoints").is_dir()
    assert not (run_folder(config) / "result.json").exists()


@pytest.mark.parametrize("content", ["w" * 64, None])
def test_a_wrong_or_missing_token_ends_with_77_within_seconds(
    head: Head, inputs: Inputs, tmp_path: Path, content: str | None
) -> None:
    _, file = write_config(inputs, tmp_path / "refused-run")
    token = tmp_path / "other"
    if content is not None:
        token.write_text(content)
    other = replace(head, environment=head.environment | {"RAY_AUTH_TOKEN_PATH": str(token)})
    words = ["train", "scratch", "--config", str(file), "--address", head.url]
    check_quick_end(words, other, code=77)


def test_a_dead_address_ends_with_69_within_seconds(
    head: Head, inputs: Inputs, tmp_path: Path
) -> None:
    _, file = write_config(inputs, tmp_path / "lost-run")
    address = f"http://127.0.0.1:{free_port()}"
    words = ["train", "scratch", "--config", str(file), "--address", address]
    check_quick_end(words, head, code=69)


def test_an_evaluation_is_scored_on_the_node_and_lies_beside_its_checkpoint(
    head: Head, inputs: Inputs, tmp_path: Path
) -> None:
    run = tmp_path / "scored-run"
    shutil.copytree(inputs.language_model, run)
    checkpoint = next((run / "checkpoints").glob("step-*"))
    name = f"eval-lm-scored-run-step-{int(checkpoint.name.removeprefix('step-'))}"
    words = ["eval", "lm", str(checkpoint), "--set", "max_documents=3", "--address", head.url]
    first = phiray(*words, head=head)
    assert first.returncode == 0, first.stderr
    assert "bits_per_byte" in first.stderr
    result = json.loads((run / "evals" / "lm" / "result.json").read_text())
    assert result["data"]["settings"]["max_documents"] == 3
    second = phiray(*words, head=head)
    assert (second.returncode, "already complete" in second.stderr) == (0, True)
    assert jobs_of(name, head=head) == [(name, "SUCCEEDED")]
    logs = phiray("logs", name, "--address", head.url, head=head)
    assert "bits_per_byte" in logs.stderr
    missing = phiray("eval", "lm", str(run / "no"), "--address", head.url, head=head)
    assert missing.returncode == 66, missing.stderr


def test_a_search_is_stopped_and_the_same_command_goes_on_with_it(
    head: Head, inputs: Inputs, tmp_path: Path
) -> None:
    out = tmp_path / "searched"
    base = shared_out(build_scratch(inputs, out), workers=1, accumulation=1)
    assert isinstance(base, ScratchConfig)
    steps = {"max_steps": 2000, "checkpoint_every_steps": 100}
    base = base.model_copy(update={"training": base.training.model_copy(update=steps)})
    search = SearchConfig(
        space=["training.learning_rate=choice(1e-5)"],
        num_trials=2,
        max_concurrent=9,  # more than there is room for
        scheduler="none",
        confirm_seeds=0,
    )
    run = RunConfig(name="remote-search", output_dir=str(out))
    file = out / "search.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(yaml_from_config(MoeSearch(run=run, search=search, base=base)))
    words = ["tune", "moe", "--config", str(file), "--address", head.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "phiray", *words], env=head.environment, stderr=subprocess.PIPE
    )
    trials = [out / "remote-search" / "trials" / f"trial-00{number}" for number in (0, 1)]
    for trial in trials:  # at the same time, though nine were asked for
        wait_for_lines(trial / METRICS_NAME, 110)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, b"it goes on" in told) == (130, True)
    assert phiray("stop", "remote-search", "--address", head.url, head=head).returncode == 0
    logs = phiray("logs", "remote-search", "--address", head.url, head=head)
    assert logs.returncode in (75, 143), logs.stderr
    again = phiray(*words, "--set", "search.max_concurrent=8", head=head)  # it may be changed
    assert again.returncode == 0, again.stderr
    assert "trial-000: complete" in again.stderr
    summary = json.loads((out / "remote-search" / "search.json").read_text())
    assert [trial["ending"] for trial in summary["trials"]] == ["complete", "complete"]
    for trial in trials:
        kinds = [(event["event"], event["step"]) for event in read_lines(trial / EVENTS_NAME)]
        (resumed,) = [step for kind, step in kinds if kind == "resume"]
        assert 100 <= resumed < 2000
    assert jobs_of("remote-search", head=head) == [
        ("remote-search", "STOPPED"),
        ("remote-search.attempt-2", "SUCCEEDED"),
    ]


@pytest.mark.parametrize("setting", ["run.output_dir", "data.root"])
def test_a_folder_that_a_node_sees_as_another_is_refused_before_training(
    head: Head, inputs: Inputs, tmp_path: Path, unshared: Unshared, setting: str
) -> None:
    if not unshared.is_so:
        pytest.skip("this machine lets no process have a mount of its own (it takes root)")
    name = setting.replace(".", "-")
    config, file = write_config(inputs, tmp_path / name)
    place = unshared.path / name
    if setting == "data.root":
        shutil.copytree(inputs.world, place)
    words = ["train", "scratch", "--config", str(file), "--set", f"{setting}={place}"]
    done = phiray(*words, "--address", head.url, head=head)
    assert done.returncode == 78, done.stderr
    path = place / name if setting == "run.output_dir" else place
    assert f"{setting}: {path} is missing on node {socket.gethostname()}" in done.stderr
    assert "Mount shared storage" in done.stderr
    assert "Traceback" not in done.stderr
    folder = path if setting == "run.output_dir" else run_folder(config)
    assert not (folder / METRICS_NAME).exists()
    assert len(list((folder / "ray").iterdir())) == 1  # no worker was started anew


def jobs_of(name: str, *, head: Head) -> list[tuple[str, str]]:
    """Return id and status of the jobs of that name."""
    jobs = json.loads(phiray("jobs", "--address", head.url, "--json", head=head).stdout)
    return [(job["submission_id"], job["status"]) for job in jobs if job["name"] == name]


def check_quick_end(words: list[str], head: Head, *, code: int) -> None:
    started = time.monotonic()
    done = phiray(*words, head=head)
    assert done.returncode == code, done.stderr
    assert time.monotonic() - started < QUICK_SECONDS
    assert done.stderr.count("\n") <= 2
    assert "Traceback" not in done.stderr


def wait_for_lines(path: Path, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") >= number:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {number} lines in {path} within {PATIENCE_SECONDS} s")
