"""Read what runs left in their folders: settings, training metrics, evaluations.

Limits: reads only; a run that was not trained to its end is shown as far as it got.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phiray.config.data import TextDataConfig
from phiray.config.load import config_from_file
from phiray.config.stages import AlignConfig, AnyStageConfig, InstructConfig
from phiray.errors import ConfigError, DataError, ExitCode
from phiray.evals.results import RESULT_FILE, Sample, SuiteResult, read_result, read_samples
from phiray.stages.parts import CONFIG_FILE, MANIFEST_FILE
from phiray.training.metrics_log import LOSS_METRIC, read_metrics

_LAST_FRACTION = 0.1
"""Share of the steps, from the end, over which the final loss is averaged."""
EVALS_FOLDER = "evals"
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
"""What tells two language models apart, beside their experts."""


@dataclass(frozen=True)
class TrainingCurve:
    """What a run's metrics say, step by step."""

    steps: list[int]
    losses: list[float]
    """Nats per label token."""
    label_tokens: int
    """Over all steps."""
    seconds: float
    """Over all steps."""

    @property
    def final_loss(self) -> float | None:
        """Mean loss of the last tenth of the steps; None before the first step."""
        if not self.losses:
            return None
        last = self.losses[-max(1, int(len(self.losses) * _LAST_FRACTION)) :]
        return sum(last) / len(last)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with its evaluations."""

    folder: Path
    config: AnyStageConfig
    curve: TrainingCurve
    suites: dict[str, SuiteResult]
    samples: dict[str, list[Sample]]
    """By suite."""
    manifest: dict[str, object]
    """Versions, commit and data counts that the run recorded."""

    @property
    def name(self) -> str:
        """The run's name, which is also that of its arms."""
        return self.config.run.name

    @property
    def method(self) -> str:
        """Kind of training method."""
        method = getattr(self.config, "method", None)
        return "standard" if method is None else str(method.kind)

    @property
    def source(self) -> str | None:
        """Name of the text that a language model learnt from; None of a stage with pictures."""
        return self.config.data.source if isinstance(self.config.data, TextDataConfig) else None

    @property
    def model(self) -> dict[str, object]:
        """Say in short what was trained: sizes of a language model, or what it was built on.

        Of another run or a folder its name alone, since where it lies may differ.
        """
        config = self.config
        if isinstance(config, AlignConfig):
            built_on = {"language_model": Path(config.language_model).name}
            return {**built_on, "vision": config.vision.model, "projector": config.projector.kind}
        if isinstance(config, InstructConfig):
            return {"checkpoint": Path(config.checkpoint).name}
        moe = config.model.moe
        return {
            **config.model.model_dump(mode="json", include=set(_SIZES)),
            "experts": moe.num_experts if moe else 0,
            "experts_per_token": moe.num_experts_per_token if moe else 0,
        }

    @property
    def label_tokens(self) -> int:
        """Tokens that the run learnt from."""
        return self.curve.label_tokens

    def own_arms(self, suite: str) -> list[str]:
        """Return the arms that are the run itself, not blind rows beside it."""
        if suite not in self.suites:
            return []
        return [
            arm
            for arm in self.suites[suite].arms
            if arm == self.name or arm.startswith(f"{self.name}@")
        ]

    def step_notes(self, suite: str) -> list[str]:
        """Say so if a suite scored another step than the one that the run's curve ends with."""
        scored, last = self.suites[suite].data.get("step"), self.curve.steps[-1:]
        if scored is None or last in ([], [scored]):
            return []
        return [
            f"{suite} of {self.name} scored the checkpoint of step {scored}; its loss curve and "
            f"label tokens go on to step {last[0]}. `phiray eval {suite} RUN` scores the newest."
        ]

    def gallery_folder(self, suite: str) -> Path:
        """Return the folder of a suite's result, which holds its pictures."""
        return self.folder / EVALS_FOLDER / suite


def collect_runs(folders: Sequence[Path]) -> list[EvaluatedRun]:
    """Read runs in the given order.

    Raises:
        DataError: if a folder holds no run (66), or two runs have one name (65).
    """
    places = [Path(folder).resolve() for folder in folders]
    again = [
        str(folder)
        for folder, place in zip(folders, places, strict=True)
        if places.count(place) > 1
    ]
    if again:
        raise ConfigError(
            f"{again[0]} is named {len(again)} times. Expected each run once. Leave the others "
            "out.",
            exit_code=ExitCode.USAGE,
        )
    runs = [collect_run(Path(folder)) for folder in folders]
    names = [run.name for run in runs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"Several runs are named {', '.join(twice)}. Names must differ, since they name the "
            "rows of the tables. Rename one of them (run.name in its config.yaml)."
        )
    return runs


def collect_run(folder: Path) -> EvaluatedRun:
    """Read one run's folder.

    Raises:
        DataError: if it holds no run (66), or a broken one (65).
    """
    config = _read_config(folder / CONFIG_FILE)
    results = sorted((folder / EVALS_FOLDER).glob(f"*/{RESULT_FILE}"))
    manifest = folder / MANIFEST_FILE
    return EvaluatedRun(
        folder=folder,
        config=config,
        curve=_read_curve(folder),
        suites={path.parent.name: read_result(path.parent) for path in results},
        samples={path.parent.name: read_samples(path.parent) for path in results},
        manifest=json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {},
    )


def _read_config(path: Path) -> AnyStageConfig:
    if not path.is_file():
        raise DataError(
            f"{path.parent} holds no run: {path.name} is missing. Expected the folder of a run, "
            "e.g. runs/align. Correct the path.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    try:
        return config_from_file(path)
    except ConfigError as error:
        raise DataError(
            f"{path} is not the settings of a stage: {error.message.splitlines()[0]} Expected what "
            "`phiray train` wrote. Restore the file."
        ) from error


def _read_curve(folder: Path) -> TrainingCurve:
    records = read_metrics(folder)
    measured = [record for record in records if LOSS_METRIC in record]
    return TrainingCurve(
        steps=[int(_number(record, "step")) for record in measured],
        losses=[_number(record, LOSS_METRIC) for record in measured],
        label_tokens=int(sum(_number(record, "label_tokens") for record in records)),
        seconds=sum(_number(record, "step_seconds") for record in records),
    )


def _number(record: dict[str, object], name: str) -> float:
    value = record.get(name)
    if not isinstance(value, int | float):
        raise DataError(
            f"metrics.jsonl has {name}={value!r} in a step. Expected a number. The file was "
            "edited; train the run again."
        )
    return float(value)
