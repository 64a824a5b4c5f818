"""Who makes the shards: threads here, or Ray; what travels between, as it was."""

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from phiray.config.load import load_config
from phiray.config.stages import AnyStageConfig
from phiray.data.prepare.cut import ShardTask
from phiray.data.prepare.shards import ShardWriter
from phiray.data.prepare.threads import OnDone, RunShards
from phiray.data.sources.documents import DocumentRef
from phiray.errors import DataError, ExitCode, PhirayError
from phiray.jobs import prepare as job
from phiray.jobs.prepare import RAY_BYTES, prepare_stage, run_on_cluster
from phiray.stages.parts import PreparedData
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import build_tokenizer_json

DATA = PreparedData("f", "q", {})
TASK = ShardTask(3, (DocumentRef("a", "x.jsonl", 0, 5), DocumentRef("b", "x.jsonl", 9, 7)))


@pytest.fixture
def writer(tmp_path: Path) -> ShardWriter:
    tokenizer = Tokenizer(build_tokenizer_json())
    return ShardWriter(tmp_path, tmp_path, "redpajama", tmp_path, tokenizer)


@pytest.mark.parametrize("attach", [False, True])
@pytest.mark.parametrize("stage", ["scratch", "litgpt", "align"])
def test_text_is_tokenised_on_the_cluster_only_in_its_jobs(
    monkeypatch: pytest.MonkeyPatch, stage: str, attach: bool
) -> None:
    asked: list[object] = []

    def prepare_text_stage(_: AnyStageConfig, *, progress: None, run_shards: RunShards) -> object:
        asked.append(run_shards)
        return DATA

    def prepare_here(_: AnyStageConfig, *, progress: None, note: None) -> object:
        asked.append("here")
        return DATA

    monkeypatch.setattr(job, "prepare_text_stage", prepare_text_stage)
    monkeypatch.setattr(job, "prepare_here", prepare_here)
    assert prepare_stage(load_config("tiny", stage), attach=attach) is DATA
    assert asked == [run_on_cluster if attach and stage != "align" else "here"]


@pytest.mark.parametrize(
    ("num_bytes", "expected"), [(RAY_BYTES - 1, "threads"), (RAY_BYTES, "ray")]
)
def test_little_text_is_not_worth_the_start_of_ray_data(
    monkeypatch: pytest.MonkeyPatch, writer: ShardWriter, num_bytes: int, expected: str
) -> None:
    asked: list[str] = []

    class Session:
        def __enter__(self) -> None:
            asked.append("ray")

        def __exit__(self, *_: object) -> None:
            pass

    def run_in_threads(_: ShardWriter, tasks: Sequence[ShardTask], on_done: OnDone) -> None:
        asked.append("threads")

    monkeypatch.setattr(job, "ray_session", lambda **_: Session())
    monkeypatch.setattr(job, "run_on_ray", lambda *_: None)
    monkeypatch.setattr(job, "run_in_threads", run_in_threads)
    task = ShardTask(0, (DocumentRef("a", "x", 0, num_bytes),))
    run_on_cluster(writer, [task], lambda _: None)
    assert asked == [expected]


def test_task_travels_as_a_table() -> None:
    assert job._task(job._block(TASK)) == TASK
    assert job._block(TASK).num_rows == 2


@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (DataError("changed"), PhirayError, ExitCode.BAD_DATA),
        (OSError(errno.ENOSPC, "full"), OSError, errno.ENOSPC),
        (OSError("odd"), OSError, errno.EIO),
    ],
)
def test_error_travels_as_json(
    monkeypatch: pytest.MonkeyPatch,
    writer: ShardWriter,
    raised: Exception,
    kind: type[Exception],
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(ShardWriter, "write", fail)
    (told,) = job._ShardMaker(writer)(job._block(TASK)).to_pylist()
    error = job._error(json.loads(told["error"]))
    assert isinstance(error, kind)
    found = error.errno if isinstance(error, OSError) else getattr(error, "exit_code", None)
    assert found == code


def test_finished_shard_tells_how_many_documents_it_has(
    monkeypatch: pytest.MonkeyPatch, writer: ShardWriter
) -> None:
    made: list[ShardTask] = []
    monkeypatch.setattr(ShardWriter, "write", lambda _, task, on_document: made.append(task))
    told = job._ShardMaker(writer)(job._block(TASK))
    assert told.to_pylist() == [{"num_documents": 2, "error": None}]
    assert told.schema.field("error").type == pa.string()
    assert made == [TASK]


def test_node_without_the_folder_is_named(
    monkeypatch: pytest.MonkeyPatch, writer: ShardWriter
) -> None:
    monkeypatch.setattr(job, "PATIENCE_SECONDS", 0.0)
    elsewhere = ShardWriter(
        writer.folder / "not", writer.records, "redpajama", writer.root, writer.tokenizer
    )
    (told,) = job._ShardMaker(elsewhere)(job._block(TASK)).to_pylist()
    payload = json.loads(told["error"])
    assert "/not is not on the node" in payload["message"]
    assert payload["exit_code"] == ExitCode.BAD_CONFIG
