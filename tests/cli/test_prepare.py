"""`phiray data prepare`, killed and stopped: it goes on where it was, to the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from phiray.errors import ExitCode
from tests.text_builders import write_books, write_tokenizer

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 120
NUM_BOOKS, WORDS = 40, 14_000
"""Of 100 kB each: a dozen shards, of which each takes some tenths of a second."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tokenizer(folder)
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghij", k=draw.randint(1, 12))) for _ in range(50_000)]
    bodies = {n: " ".join(draw.choices(words, k=WORDS)) for n in range(1, NUM_BOOKS + 1)}
    write_books(folder, bodies)
    return folder


def start(
    root: Path, out: Path, *, limit: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "phiray", "data", "prepare", "scratch", "--config", "tiny"]
    changes = {"root": root, "prepared": out, "sequence_length": 64}
    for name, value in changes.items():
        words += ["--set", f"data.{name}={value}"]
    return subprocess.Popen(
        [*words, "--set", "model.vocab_size=512"],
        preexec_fn=limit,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def finished(out: Path) -> dict[str, int]:
    """Return the inode of each shard that counts, by its name."""
    found = {}
    for record in out.glob(".partial-*/records/*.json"):
        (shard,) = out.glob(f".partial-*/*/tokens-{record.stem}.bin")
        found[shard.name] = shard.stat().st_ino
    return found


def has_made(out: Path, count: int) -> bool:
    return any(out.glob(".partial-*")) and len(finished(out)) >= count


def stop_when(
    process: subprocess.Popen[str], number: signal.Signals, is_due: Callable[[], bool]
) -> str:
    """Send a signal as soon as it is due, before the command ends; return what it then says."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not is_due():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=PATIENCE_SECONDS)[1]


def contents(out: Path) -> dict[str, bytes]:
    (folder,) = out.iterdir()  # and nothing beside it
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "prepared"
    process = start(root, out)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    return contents(out)


def test_killed_preparation_keeps_its_shards_and_ends_with_the_same_bytes(
    root: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    out = tmp_path / "prepared"
    num_shards = sum(name.startswith("tokens-") for name in undisturbed)
    assert num_shards >= 10
    kept: dict[str, int] = {}
    for count, limit in ((0, None), (1, one_core), (num_shards // 2, None)):
        process = start(root, out, limit=limit)
        stop_when(process, signal.SIGKILL, partial(has_made, out, max(count, len(kept))))
        assert process.returncode == -signal.SIGKILL
        now = finished(out)
        assert len(now) < num_shards, "nothing was left to do"
        assert kept.items() <= now.items()
        kept = now
    assert len(kept) >= num_shards // 2
    process = start(root, out, limit=one_core)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert contents(out) == undisturbed
    (folder,) = out.iterdir()
    inodes = {file.name: file.stat().st_ino for file in folder.iterdir()}
    assert kept.items() <= inodes.items()  # not made again


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_stopped_preparation_ends_at_once_without_a_traceback(
    root: Path, tmp_path: Path, number: signal.Signals, code: ExitCode
) -> None:
    out = tmp_path / "prepared"
    process = start(root, out)
    errors = stop_when(process, number, partial(has_made, out, 2))
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "the same command goes on with what is missing" in errors
    assert len(finished(out)) >= 2
    assert not list(out.glob(".partial-*/*/.*"))  # nothing half written
