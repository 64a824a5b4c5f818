"""What an evaluation gives: samples, metrics with intervals, and their JSON.

Source: the form of `report.json` (schema phiray.report/1).
Limits: strict JSON; a value that is not finite is refused, never written.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from phiray.checkpoints.files import write_json
from phiray.errors import DataError, ExitCode

RESULT_FILE = "result.json"
SAMPLES_FILE = "samples.jsonl"
RESULT_SCHEMA = "phiray.eval/1"


@dataclass(frozen=True)
class Metric:
    """One value with its 95 % interval."""

    value: float
    ci95: tuple[float, float]
    n: int
    """Samples behind the value."""
    unit: str
    higher_is_better: bool

    def __post_init__(self) -> None:
        """Refuse what cannot be an interval."""
        if not all(map(math.isfinite, (self.value, *self.ci95))):
            raise DataError(
                f"A metric is {self.value} with interval {list(self.ci95)}. It must be finite. "
                "The model's outputs are broken or a sample is empty; look into samples.jsonl."
            )
        if self.ci95[0] > self.ci95[1]:
            raise DataError(
                f"A metric's interval is {list(self.ci95)}. The lower end must come first. The "
                "file was edited; run `phiray eval` again."
            )


Arms = dict[str, dict[str, Metric]]
"""Metrics by arm and name. An arm is what was scored: a run, or a blind row beside it."""


@dataclass(frozen=True)
class Sample:
    """One scored thing of one arm: a caption, an image's generated caption, a document."""

    arm: str
    sample_id: str
    cluster: str
    """What is drawn by the bootstrap: the image or the document."""
    columns: dict[str, list[float]]
    """What the sample adds to each metric's sums."""
    texts: dict[str, str] = field(default_factory=dict)
    """What a person wants to read: reference, answer."""


@dataclass(frozen=True)
class SuiteResult:
    """All that one suite says of one run."""

    suite: str
    run: str
    arms: Arms
    data: dict[str, object]
    """What was scored: counts, settings, hashes. Equal between two runs of one seed."""
    notes: list[str]
    measured: dict[str, object]
    """Times, memory, paths: what may differ between two runs of one seed."""


@dataclass(frozen=True)
class _Schema:
    schema_name: Annotated[str, Field(alias="schema")]


_SCHEMA_READER = TypeAdapter(_Schema)
_RESULT_READER = TypeAdapter(SuiteResult)
_SAMPLE_READER = TypeAdapter(Sample)


def metric_to_json(metric: Metric) -> dict[str, object]:
    """Turn a metric into plain JSON."""
    return {**asdict(metric), "ci95": list(metric.ci95)}


def arms_to_json(arms: Arms) -> dict[str, dict[str, dict[str, object]]]:
    """Turn arms into plain JSON."""
    return {
        arm: {name: metric_to_json(metric) for name, metric in metrics.items()}
        for arm, metrics in arms.items()
    }


def write_result(folder: Path, result: SuiteResult, samples: Iterable[Sample]) -> None:
    """Write `result.json` and `samples.jsonl` into a folder that nobody reads yet."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (
        json.dumps(asdict(sample), sort_keys=True, allow_nan=False, ensure_ascii=False)
        for sample in samples
    )
    (folder / SAMPLES_FILE).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    payload = {"schema": RESULT_SCHEMA, **asdict(result), "arms": arms_to_json(result.arms)}
    write_json(folder / RESULT_FILE, payload)


def read_result(folder: Path) -> SuiteResult:
    """Read a suite's `result.json`, checked.

    Raises:
        DataError: if there is none (66) or it is not of this form (65).
    """
    path = folder / RESULT_FILE
    text = _read_text(path)
    try:
        schema = _SCHEMA_READER.validate_json(text)
        if schema.schema_name != RESULT_SCHEMA:
            raise DataError(
                f"{path} has schema {schema.schema_name!r}. Expected {RESULT_SCHEMA!r}. Run "
                "`phiray eval` again with this version."
            )
        return _RESULT_READER.validate_json(text)
    except ValidationError as error:
        raise _unreadable(path, "the result of an evaluation", error) from error


def read_samples(folder: Path) -> list[Sample]:
    """Read a suite's `samples.jsonl`.

    Raises:
        DataError: if there is none (66) or a line is not a sample (65).
    """
    path = folder / SAMPLES_FILE
    samples = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        try:
            if line:
                samples.append(_SAMPLE_READER.validate_json(line))
        except ValidationError as error:
            raise _unreadable(path, f"a sample in line {number}", error) from error
    return samples


def _unreadable(path: Path, expected: str, error: ValidationError) -> DataError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole"
    return DataError(
        f"{path} cannot be used: {where}: {first['msg']}. Expected {expected}. Run `phiray eval` "
        "again."
    )


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist. Expected the result of an evaluation. Run `phiray eval` on "
            "that run first.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return path.read_text(encoding="utf-8")
