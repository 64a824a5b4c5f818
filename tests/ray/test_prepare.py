"""Shards made by Ray Data are those made in threads, byte for byte."""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
import ray

from phiray.config.data import SplitConfig, TextDataConfig
from phiray.data.prepare import cut
from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.prepared_text import PreparedText
from phiray.data.prepare.shards import HIDDEN, OnDocument, ShardWriter
from phiray.data.prepare.text import prepare_text
from phiray.data.prepare.threads import OnDone, RunShards, run_in_threads
from phiray.errors import ExitCode, PhirayError
from phiray.jobs.prepare import run_on_ray
from tests.text_builders import SENTENCE, write_redpajama, write_tokenizer

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TEXTS = [f"{SENTENCE * (1 + number % 7)}{number}" for number in range(60)]


@pytest.fixture
def free_cpus(shared_ray: None) -> None:
    """Wait for what the test before held: without a CPU, threads would make the shards."""
    give_up_at = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < 1 and time.monotonic() < give_up_at:
        time.sleep(0.2)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TextDataConfig:
    monkeypatch.setattr(cut, "MIN_BYTES", 1000)
    write_tokenizer(tmp_path)
    write_redpajama(tmp_path, TEXTS)
    split = SplitConfig(heldout_fraction=0.1, salt="t")
    return TextDataConfig(root=str(tmp_path), source="redpajama", sequence_length=16, split=split)


def contents(prepared: PreparedText) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in prepared.folder.iterdir()}


def make_afresh(config: TextDataConfig, run_shards: RunShards) -> tuple[dict[str, bytes], int]:
    """Prepare, and delete what was made; return its bytes, and the documents that were told."""
    told: list[tuple[str, int, int]] = []
    prepared = prepare_text(config, run_shards=run_shards, progress=lambda *what: told.append(what))
    found = contents(prepared)
    shutil.rmtree(prepared.folder)
    return found, max(done for what, done, _ in told if what == "tokenise")


def test_shards_of_ray_are_those_of_threads(free_cpus: None, config: TextDataConfig) -> None:
    expected, num_documents = make_afresh(config, run_in_threads)
    assert sum(name.startswith("tokens-") for name in expected) > 5
    assert make_afresh(config, run_on_ray) == (expected, num_documents)
    limited = config.model_copy(update={"max_train_tokens": 500, "separate_files": True})
    assert make_afresh(limited, run_on_ray) == make_afresh(limited, run_in_threads)


@dataclass(frozen=True)
class DyingWriter:
    """Kills its process in the midst of the first shard that is made."""

    writer: ShardWriter
    root: Path
    folder: Path
    driver: int
    """Id of a process that must not be killed: that of the tests."""

    def write(self, task: ShardTask, *, on_document: OnDocument) -> None:
        dead = self.root / "dead"
        if not dead.exists() and os.getpid() != self.driver:
            dead.touch()
            (self.folder / f"{HIDDEN}tokens-half").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        self.writer.write(task, on_document=on_document)


def test_shards_of_a_killed_process_are_made_by_another(
    free_cpus: None, config: TextDataConfig
) -> None:
    def run(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        dying = DyingWriter(writer, writer.root, writer.folder, os.getpid())
        run_on_ray(cast(ShardWriter, dying), tasks, on_done)

    found = make_afresh(config, run)
    assert (Path(config.root) / "dead").exists()
    assert found == make_afresh(config, run_in_threads)


def test_document_that_changed_ends_it_and_what_is_finished_is_kept(
    free_cpus: None, config: TextDataConfig
) -> None:
    root = Path(config.root)

    def run(writer: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        run_on_ray(writer, tasks[:3], on_done)
        write_redpajama(root, ["other"] * 60)
        run_on_ray(writer, tasks[3:], on_done)

    with pytest.raises(PhirayError, match="changed while it was being read") as caught:
        prepare_text(config, run_shards=run)
    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert len(list(root.glob("prepared/.partial-*/records/*.json"))) == 3
