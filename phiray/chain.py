"""The whole chain in order: data, four stages with both methods, evaluation, report.

Source: DESIGN 1 and 11. The data is the built-in world, or real samples below a folder.
Limits: every step is the one that its own command runs; nothing is special-cased here.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from phiray.checkpoints.files import write_json
from phiray.config.data import ImageDataConfig
from phiray.config.demo import demo_configs, find_tokenizer
from phiray.config.stages import AlignConfig, AnyStageConfig
from phiray.config.training import ClusterConfig
from phiray.data.atomic import error_from_write
from phiray.data.sources.annotations import existing_files
from phiray.data.sources.documents import source_files
from phiray.errors import CheckpointError, DataError, ExitCode
from phiray.evals.report import write_report
from phiray.evals.run import evaluate_checkpoint
from phiray.jobs.display import Display
from phiray.jobs.memory import watch_memory
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import check_workers, cpus_reserved, train_stage
from phiray.models.clip_weights import CONFIG_NAME
from phiray.runtime import ray_session
from phiray.text.tokenizer import Tokenizer
from phiray.world.build import build_world
from phiray.world.clip import train_clip
from phiray.world.settings import WorldConfig

MARKER_FILE = "demo.json"
_SUITE_OF_STAGE = {"scratch": "lm", "litgpt": "lm", "align": "caption", "instruct": "instruct"}


@dataclass(frozen=True)
class DemoSummary:
    """What the demo ends with."""

    report_html: Path
    report_json: Path
    seconds: dict[str, float]
    """Time of each part, and of all in `total`, with what lies between parts and the report."""
    peak_memory_bytes: int
    """Most memory that all processes together were seen to use."""
    resumed: bool
    """Whether it went on with an earlier attempt, whose time and memory are not in here."""


@dataclass
class _Clock:
    """Times the parts of the chain, and the whole since it was made."""

    seconds: dict[str, float] = field(default_factory=dict)
    start: float = field(default_factory=time.monotonic)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - start, 1)

    def stop(self) -> dict[str, float]:
        """Return the times of the parts, and the whole until now as `total`."""
        self.seconds["total"] = round(time.monotonic() - self.start, 1)
        return self.seconds


def run_demo(
    out: Path, *, data: Path | None, seed: int, workers: int, display: Display
) -> DemoSummary:
    """Run the chain below `out`; an interrupted one goes on where it stopped.

    Args:
        out: folder of the demo; a finished demo in it is kept as `OUT.previous-N`.
        data: folder with real samples in the layouts of their downloads; none builds the world.
        seed: of everything.
        workers: training processes of each stage.
        display: told of progress.

    Raises:
        PhirayError: of the kind and exit code that fits; what was finished stays.
    """
    clock = _Clock()
    out = out.absolute()  # `.` would follow the folder when it is renamed
    identity: dict[str, object] = {
        "seed": seed,
        "data": None if data is None else str(data.absolute()),
    }
    check_workers(ClusterConfig(workers=workers))  # first, like the data: a refusal leaves nothing
    if data is not None:
        _check_data(data)
    resumed = _open_folder(out, identity)
    with watch_memory() as memory:
        with clock.part("data"):
            configs = _make_inputs(out, data, seed=seed, workers=workers, display=display)
        _train_all(configs, clock, display=display)
        _evaluate_all(configs, clock, display=display)
    report = write_report(
        [run_folder(config) for config in configs],
        out / "report.html",
        notes=[_data_note(data, seed=seed)],
        measured=lambda: {
            "seconds": clock.stop(),
            "peak_memory_bytes": memory.peak_bytes,
            **({"resumed": True} if resumed else {}),
        },
    )
    write_json(out / MARKER_FILE, {**identity, "finished": True})
    return DemoSummary(report.html, report.json, clock.seconds, memory.peak_bytes, resumed=resumed)


def _check_data(data: Path) -> None:
    """Look for every file that a stage will ask for, minutes before it does."""
    if not data.is_dir():
        raise DataError(
            f"{data} is no folder. It must hold coco/, gutenberg/, redpajama/, instruct/ and "
            "tokenizer/. Correct --data.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    images = ImageDataConfig()
    looks: tuple[Callable[[], object], ...] = (
        lambda: find_tokenizer(data),
        lambda: source_files("gutenberg", data),
        lambda: source_files("redpajama", data),
        lambda: existing_files(data, images.annotations, setting="data.annotations"),
        lambda: existing_files(data, images.conversations, setting="data.conversations"),
    )
    faults = []
    for look in looks:
        try:
            look()
        except DataError as error:
            faults.append(error.message)
    if faults:
        raise DataError(
            "\n".join([*faults, f"Or correct --data {data}: it is data.root of every stage."]),
            exit_code=ExitCode.MISSING_INPUT,
        )


def _data_note(data: Path | None, *, seed: int) -> str:
    if data is None:
        return f"Data: phiray's built-in world, made on the spot from seed {seed}; no real data."
    return (
        "Data: the real samples given with --data (COCO images and captions, instruction rows, "
        "Gutenberg books, RedPajama rows). Their folder stands under `measured`."
    )


def _open_folder(out: Path, identity: dict[str, object]) -> bool:
    """Make the folder; say whether it holds an earlier attempt that this one goes on with."""
    marker = out / MARKER_FILE
    is_taken = out.is_dir() and any(out.iterdir())
    if is_taken:
        stored = _read_marker(marker)
        if stored == {**identity, "finished": False}:
            return True
        if not stored.get("finished"):
            raise CheckpointError(
                f"{out} holds other files or an unfinished demo with another seed or data. The "
                "demo needs a folder of its own. Name another one, e.g. --out demo-2.",
                exit_code=ExitCode.CANNOT_CREATE,
            )
    try:
        if is_taken:
            _keep_previous(out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(marker, {**identity, "finished": False})
    except OSError as error:
        raise error_from_write(out, error, setting="--out") from error
    return False


def _read_marker(marker: Path) -> dict[str, object]:
    """Read what the folder was made for; nothing if it is no demo's."""
    try:
        stored = json.loads(marker.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _keep_previous(out: Path) -> None:
    number = 1
    while (previous := out.with_name(f"{out.name}.previous-{number}")).exists():
        number += 1
    out.rename(previous)


def _make_inputs(
    out: Path, data: Path | None, *, seed: int, workers: int, display: Display
) -> list[AnyStageConfig]:
    root = out / "data" if data is None else data
    if data is None:
        build_world(root, seed=seed, settings=WorldConfig(), progress=display.progress)
    tokenizer = Tokenizer.load(root / find_tokenizer(root))
    configs = demo_configs(
        out, data=data, vocab_size=tokenizer.vocab_size, seed=seed, workers=workers
    )
    align = next(config for config in configs if isinstance(config, AlignConfig))
    clip = out / "clip"
    if not (clip / CONFIG_NAME).is_file():  # written last: with it, the tower of this demo is there
        train_clip(align.data, align.vision, out=clip, seed=seed, progress=display.progress)
    return configs


def _train_all(configs: list[AnyStageConfig], clock: _Clock, *, display: Display) -> None:
    with ray_session(num_cpus=cpus_reserved(configs[0].cluster)):  # the same for all
        for config in configs:
            with clock.part(f"train {config.run.name}"):
                train_stage(config, resume=run_folder(config).exists(), display=display)


def _evaluate_all(configs: list[AnyStageConfig], clock: _Clock, *, display: Display) -> None:
    for config in configs:
        with clock.part(f"evaluate {config.run.name}"):
            evaluate_checkpoint(
                _SUITE_OF_STAGE[config.stage],
                run_folder(config),
                progress=display.progress,
            )
