"""Runs on a cluster, through its Jobs API: a head of Ray on the loopback, real commands.

Takes four minutes, so it runs by `pytest -m cluster` alone.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from phiray.config.stages import AnyStageConfig
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import METRICS_NAME
from tests.ray.head import Head, free_port, ray_head
from tests.ray.run_builders import Inputs, build_scratch, read_lines, shared_out

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
QUICK_SECONDS = 10
PATIENCE_SECONDS = 240


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with ray_head(tmp_path_factory.mktemp("head"), num_cpus=4) as head:
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
    jobs = json.loads(phiray("jobs", "--address", head.url, "--json", head=head).stdout)
    assert [(job["name"], job["status"]) for job in jobs] == [("remote-run", "SUCCEEDED")]


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
    other = Head(head.url, head.environment | {"RAY_AUTH_TOKEN_PATH": str(token)})
    words = ["train", "scratch", "--config", str(file), "--address", head.url]
    check_quick_end(words, other, code=77)


def test_a_dead_address_ends_with_69_within_seconds(
    head: Head, inputs: Inputs, tmp_path: Path
) -> None:
    _, file = write_config(inputs, tmp_path / "lost-run")
    address = f"http://127.0.0.1:{free_port()}"
    words = ["train", "scratch", "--config", str(file), "--address", address]
    check_quick_end(words, head, code=69)


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
