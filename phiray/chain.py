"""The whole chain in order: data, four stages with both methods, evaluation, report.

Source: DESIGN 1 and 11. The data is the built-in world, or real samples below a folder.
Limits: every step is the one that its own command runs; nothing is special-cased here.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from phiray.config.demo import DemoConfig, demo_configs, find_tokenizer
from phiray.config.stages import AlignConfig
from phiray.errors import CheckpointError, DataError, ExitCode
from phiray.evals.report import write_report
from phiray.evals.run import evaluate_checkpoint
from phiray.jobs.display import Display
from phiray.jobs.memory import watch_memory
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import check_workers, train_stage
from phiray.runtime import ray_session
from phiray.text.tokenizer import Tokenizer
from phiray.world.build import build_world
from phiray.world.clip import train_clip

MARKER_FILE = "demo.json"
_SUITE_OF_STAGE = {"scratch": "lm", "litgpt": "lm", "align": "caption", "instruct": "instruct"}


@dataclass(frozen=True)
class DemoSummary:
    """What the demo ends with."""

    report_html: Path
    report_json: Path
    seconds: dict[str, float]
    """Time of each part."""
    peak_memory_bytes: int
    """Most memory that all processes together were seen to use."""


@dataclass
class _Clock:
    """Times the parts of the chain."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)


def run_demo(
    out: Path, *, data: Path | None, seed: int, workers: int, display: Display
) -> DemoSummary:
    """Run the chain below `out`; an interrupted one goes on where it stopped.

    Args:
        out: folder of the demo; a finished demo in it is kept as `out.previous`.
        data: folder with real samples in the layouts of their downloads; none builds the world.
        seed: of everything.
        workers: training processes of each stage.
        display: told of progress.

    Raises:
        PhirayError: of the kind and exit code that fits; what was finished stays.
    """
    identity = {"seed": seed, "data": None if data is None else str(data.absolute())}
    _open_folder(out, identity)
    clock = _Clock()
    with watch_memory() as memory:
        with clock.part("data"):
            configs = _make_inputs(out, data, seed=seed, workers=workers, display=display)
        _train_all(configs, clock, display=display)
        _evaluate_all(configs, clock, display=display)
    report = write_report(
        [run_folder(config) for config in configs],
        out / "report.html",
        measured={"seconds": clock.seconds, "peak_memory_bytes": memory.peak_bytes},
    )
    (out / MARKER_FILE).write_text(json.dumps({**identity, "finished": True}))
    return DemoSummary(report.html, report.json, clock.seconds, memory.peak_bytes)


def _open_folder(out: Path, identity: dict[str, object]) -> None:
    marker = out / MARKER_FILE
    if out.exists() and any(out.iterdir()):
        stored = json.loads(marker.read_text()) if marker.is_file() else None
        if stored == {**identity, "finished": False}:
            return
        if stored is None or not stored["finished"]:
            raise CheckpointError(
                f"{out} holds other files or an unfinished demo with another seed or data. The "
                "demo needs a folder of its own. Name another one, e.g. --out demo-2.",
                exit_code=ExitCode.CANNOT_CREATE,
            )
        _keep_previous(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps({**identity, "finished": False}))
    except OSError as error:
        raise CheckpointError(
            f"{out} cannot be made: {error.strerror}. It must be a folder that you can write. "
            "Name another one with --out.",
            exit_code=ExitCode.CANNOT_CREATE,
        ) from error


def _keep_previous(out: Path) -> None:
    number = 1
    while (previous := out.with_name(f"{out.name}.previous-{number}")).exists():
        number += 1
    out.rename(previous)


def _make_inputs(
    out: Path, data: Path | None, *, seed: int, workers: int, display: Display
) -> list[DemoConfig]:
    root = out / "data" if data is None else data
    if data is None:
        build_world(root, seed=seed, progress=display.progress)
    elif not root.is_dir():
        raise DataError(
            f"{root} is no folder. It must hold coco/, gutenberg/, redpajama/, instruct/ and "
            "tokenizer/. Correct --data.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    tokenizer = Tokenizer.load(root / find_tokenizer(root))
    configs = demo_configs(
        out, data=data, vocab_size=tokenizer.vocab_size, seed=seed, workers=workers
    )
    for config in configs:
        check_workers(config)
    align = next(config for config in configs if isinstance(config, AlignConfig))
    train_clip(align.data, align.vision, out=out / "clip", seed=seed, progress=display.progress)
    return configs


def _train_all(configs: list[DemoConfig], clock: _Clock, *, display: Display) -> None:
    with ray_session(workers=configs[0].cluster.workers):
        for config in configs:
            with clock.part(f"train {config.run.name}"):
                train_stage(config, resume=run_folder(config).exists(), display=display)


def _evaluate_all(configs: list[DemoConfig], clock: _Clock, *, display: Display) -> None:
    for config in configs:
        with clock.part(f"evaluate {config.run.name}"):
            evaluate_checkpoint(
                _SUITE_OF_STAGE[config.stage],
                run_folder(config),
                progress=display.progress,
            )
