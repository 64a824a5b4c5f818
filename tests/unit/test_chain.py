import errno
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from phiray import chain
from phiray.chain import DemoSummary, run_demo
from phiray.config.stages import AnyStageConfig
from phiray.errors import CheckpointError, ConfigError, DataError, ExitCode
from phiray.evals.report import Report
from phiray.jobs.display import Display
from phiray.jobs.run_folder import check_run_folder, create_run_folder
from phiray.node import num_cores
from phiray.types import Progress
from phiray.world.settings import WorldConfig
from tests.displays import SilentDisplay
from tests.text_builders import write_tokenizer

RUNS = [
    "scratch",
    "litgpt",
    "align-standard",
    "align-scheduled-sampling",
    "instruct-standard",
    "instruct-scheduled-sampling",
]


class Parts:
    """The parts that the chain calls; each notes that it ran, and one may fail."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fail_at: str | None = None
        self.sessions = 0
        self.measured: dict[str, object] = {}

    def build_world(
        self, root: Path, *, seed: int, settings: WorldConfig, progress: Progress
    ) -> None:
        self.calls.append(f"world {seed}")
        write_tokenizer(root)

    def train_clip(self, *_: object, out: Path, **__: object) -> None:
        self.calls.append("clip")
        out.mkdir(parents=True)
        (out / "open_clip_config.json").write_text("{}")

    def train_stage(self, config: AnyStageConfig, *, resume: bool, display: Display) -> None:
        assert self.sessions == 1
        self.calls.append(f"{'resume' if resume else 'train'} {config.run.name}")
        check_run_folder(config, resume=resume)
        if not resume:
            create_run_folder(config)
        if config.run.name == self.fail_at:
            raise KeyboardInterrupt("killed")

    def evaluate(self, suite: str, folder: Path, *, progress: Progress) -> None:
        self.calls.append(f"{suite} {folder.name}")

    def write_report(
        self,
        folders: list[Path],
        out: Path,
        *,
        notes: list[str],
        measured: Callable[[], dict[str, object]],
    ) -> Report:
        self.notes = notes
        self.calls.append(f"report {len(folders)}")
        time.sleep(0.2)
        self.measured = measured()
        out.write_text("page")
        return Report(out, out.with_suffix(".md"), out.with_suffix(".json"))

    @contextmanager
    def session(self, *, num_cpus: int) -> Iterator[None]:
        assert num_cpus == 2  # one worker and its reader
        self.sessions += 1
        time.sleep(0.2)
        yield


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    parts = Parts()
    monkeypatch.setattr(chain, "build_world", parts.build_world)
    monkeypatch.setattr(chain, "train_clip", parts.train_clip)
    monkeypatch.setattr(chain, "train_stage", parts.train_stage)
    monkeypatch.setattr(chain, "evaluate_checkpoint", parts.evaluate)
    monkeypatch.setattr(chain, "write_report", parts.write_report)
    monkeypatch.setattr(chain, "ray_session", parts.session)
    return parts


def demo(out: Path, *, data: Path | None = None, seed: int = 0, workers: int = 1) -> DemoSummary:
    return run_demo(out, data=data, seed=seed, workers=workers, display=SilentDisplay())


def test_the_chain_runs_every_part_in_order_in_one_ray(tmp_path: Path, parts: Parts) -> None:
    summary = demo(tmp_path / "out", seed=3)
    assert "built-in world" in parts.notes[0]
    suites = ["lm", "lm", "caption", "caption", "instruct", "instruct"]
    assert parts.calls == [
        "world 3",
        "clip",
        *[f"train {name}" for name in RUNS],
        *[f"{suite} {name}" for suite, name in zip(suites, RUNS, strict=True)],
        "report 6",
    ]
    assert parts.sessions == 1
    assert summary.report_html == tmp_path / "out" / "report.html"
    assert set(summary.seconds) == {
        "data",
        "total",
        *[f"train {name}" for name in RUNS],
        *[f"evaluate {name}" for name in RUNS],
    }
    assert parts.measured["peak_memory_bytes"] == summary.peak_memory_bytes > 0
    assert parts.measured["seconds"] == summary.seconds
    # Ray's start and the work on the report, 0.2 seconds each here, are in no part.
    assert summary.seconds["total"] >= 0.4
    assert "resumed" not in parts.measured
    assert not summary.resumed


def test_an_interrupted_demo_goes_on_where_it_stopped(tmp_path: Path, parts: Parts) -> None:
    parts.fail_at = "align-standard"
    with pytest.raises(KeyboardInterrupt, match="killed"):
        demo(tmp_path / "out")
    parts.fail_at, parts.sessions = None, 0
    parts.calls.clear()
    assert demo(tmp_path / "out").resumed
    assert parts.measured["resumed"] is True
    assert parts.calls[:7] == [
        "world 0",
        "resume scratch",
        "resume litgpt",
        "resume align-standard",
        "train align-scheduled-sampling",
        "train instruct-standard",
        "train instruct-scheduled-sampling",
    ]


def test_a_finished_demo_is_kept_beside_the_new_one(tmp_path: Path, parts: Parts) -> None:
    for _ in range(3):
        parts.sessions = 0
        demo(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out",
        "out.previous-1",
        "out.previous-2",
    ]
    assert parts.calls.count("train scratch") == 3
    assert (tmp_path / "out.previous-1" / "report.html").read_text() == "page"


def test_a_finished_demo_in_the_working_folder_is_kept_beside_it(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for _ in range(2):
        parts.sessions = 0
        demo(Path())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "here.previous-1"]
    assert (tmp_path / "here" / "report.html").read_text() == "page"


def test_an_unfinished_demo_of_another_seed_is_left_alone(tmp_path: Path, parts: Parts) -> None:
    parts.fail_at = "scratch"
    with pytest.raises(KeyboardInterrupt, match="killed"):
        demo(tmp_path / "out", seed=1)
    with pytest.raises(CheckpointError, match="another seed or data") as caught:
        demo(tmp_path / "out", seed=2)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
    assert parts.calls.count("train scratch") == 1


@pytest.mark.parametrize("content", [None, "", "[1]", '{"name": "another tool"}'])
def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path, parts: Parts, content: str | None
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    if content is not None:
        (tmp_path / "demo.json").write_text(content)
    with pytest.raises(CheckpointError, match="holds other files") as caught:
        demo(tmp_path)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
    assert parts.calls == []
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_file_in_the_way_is_refused(tmp_path: Path, parts: Parts) -> None:
    out = tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(
        DataError, match=r"out cannot be made: a file is in its way.*set --out"
    ) as caught:
        demo(out)
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
    assert out.read_text() == "a file"


def test_a_finished_demo_that_cannot_be_moved_is_left_alone(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo(tmp_path / "out")

    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", refuse)  # as where the folder is a mount
    with pytest.raises(DataError, match="out cannot be written: Device or resource busy") as caught:
        demo(tmp_path / "out")
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE
    assert json.loads((tmp_path / "out" / "demo.json").read_text())["finished"] is True


def test_a_full_disk_is_told_from_a_folder_in_the_way(
    tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(chain, "write_json", refuse)
    with pytest.raises(DataError, match="cannot be written: No space left") as caught:
        demo(tmp_path / "out")
    assert caught.value.exit_code == ExitCode.IO


def write_real(root: Path) -> Path:
    """Write the files whose presence is checked; nothing reads them here."""
    write_tokenizer(root)
    for name in (
        "gutenberg/books/pg1.txt",
        "redpajama/book_sample.jsonl",
        "coco/annotations/captions_val2017.json",
        "instruct/derived_from_coco.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    return root


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("gutenberg/books/pg1.txt", "No gutenberg data"),
        ("redpajama/book_sample.jsonl", "No redpajama data"),
        ("coco/annotations/captions_val2017.json", "data.annotations"),
        ("instruct/derived_from_coco.json", "data.conversations"),
        ("tokenizer/tokenizer.json", "holds no tokenizer.json"),
    ],
)
def test_a_missing_real_data_set_is_named_before_anything_is_made(
    tmp_path: Path, parts: Parts, missing: str, named: str
) -> None:
    real = write_real(tmp_path / "real")
    (real / missing).unlink()
    with pytest.raises(DataError, match="Or correct --data") as caught:
        demo(tmp_path / "out", data=real)
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    assert named in caught.value.message
    assert len(caught.value.message.splitlines()) == 2
    assert parts.calls == []
    assert not (tmp_path / "out").exists()


def test_all_missing_real_data_sets_are_named_at_once(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "real").mkdir()
    with pytest.raises(DataError, match="No gutenberg data") as caught:
        demo(tmp_path / "out", data=tmp_path / "real")
    assert len(caught.value.message.splitlines()) == 6


def test_missing_real_data_is_missing_input(tmp_path: Path, parts: Parts) -> None:
    with pytest.raises(DataError, match="nowhere is no folder") as caught:
        demo(tmp_path / "out", data=tmp_path / "nowhere")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    assert not (tmp_path / "out").exists()


def test_real_data_without_tokenizer_leaves_no_folder(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "real").mkdir()
    with pytest.raises(DataError, match=r"holds no tokenizer\.json"):
        demo(tmp_path / "out", data=tmp_path / "real")
    assert not (tmp_path / "out").exists()


def test_real_data_is_read_in_place_and_builds_no_world(tmp_path: Path, parts: Parts) -> None:
    write_real(tmp_path / "real")
    before = sorted((tmp_path / "real").rglob("*"))
    demo(tmp_path / "out", data=tmp_path / "real")
    assert parts.calls[0] == "clip"
    assert parts.notes == [
        "Data: the real samples given with --data (COCO images and captions, instruction rows, "
        "Gutenberg books, RedPajama rows). Their folder stands under `measured`."
    ]
    assert sorted((tmp_path / "real").rglob("*")) == before
    marker = json.loads((tmp_path / "out" / "demo.json").read_text())
    assert marker == {"seed": 0, "data": str(tmp_path / "real"), "finished": True}


def test_more_workers_than_cores_are_refused_before_ray_is_asked(
    tmp_path: Path, parts: Parts
) -> None:
    workers = num_cores() + 1
    with pytest.raises(ConfigError, match=f"workers is {workers}") as caught:
        demo(tmp_path / "out", workers=workers)
    assert caught.value.exit_code == ExitCode.BAD_CONFIG
    assert parts.sessions == 0
    assert "clip" not in parts.calls
    assert not (tmp_path / "out").exists()
