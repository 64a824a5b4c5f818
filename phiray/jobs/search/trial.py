"""One trial of a search: what Tune runs, around a training like any other.

Source: Ray's pattern for Tune with Train V2: a function that launches a TorchTrainer whose callback
reports to Tune.
Limits: imports no model library; the worker of the trial loads what its stage needs.
"""

import json
from pathlib import Path
from typing import TypedDict

from pydantic import JsonValue
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from phiray.checkpoints.files import write_json
from phiray.checkpoints.read import newest_checkpoint, read_checkpoint
from phiray.config.load import validate
from phiray.config.search import SEARCH_CLASSES
from phiray.errors import ExitCode, PhirayError, error_from_payload, payload_from_error
from phiray.jobs.run_folder import run_folder
from phiray.jobs.search.plan import PlannedTrial, trial_config
from phiray.jobs.stop import is_stop_requested
from phiray.jobs.train import train_stage
from phiray.stages.parts import CONFIG_FILE
from phiray.training.loop import VALIDATION_METRIC
from phiray.training.metrics_log import METRICS_NAME, Record, read_metrics

STEP_METRIC = "step"
ERROR_SUFFIX = ".error.json"
"""Beside a trial's folder: the mistake that ended it, for the driver."""


class TrialPayload(TypedDict):
    """What a trial is told: plain JSON."""

    search: dict[str, JsonValue]
    """The settings of the search."""
    folder: str
    """That of the search; absolute."""
    number: int
    changes: dict[str, JsonValue]
    """As in `PlannedTrial`."""
    attach: bool
    """Whether it runs on a cluster."""


def run_trial(told: dict[str, TrialPayload]) -> None:
    """Train a trial to its last step or until the search stops it, from where it was cut off.

    What a trial measured before it was cut off is reported first, so that the scheduler knows it.
    """
    payload = told["trial"]
    search = validate(payload["search"], SEARCH_CLASSES[str(payload["search"]["tune"])])
    trial = PlannedTrial(payload["number"], payload["changes"])
    config = trial_config(search, trial, folder=Path(payload["folder"]))
    if payload["attach"]:  # trials share no machine there, whose cores were to be divided
        config = config.model_copy(update={"cluster": search.base.cluster})
    run_dir = run_folder(config)
    for step, nats in measured_until_checkpoint(run_dir):
        tune.report({STEP_METRIC: step, VALIDATION_METRIC: nats})
    if is_stop_requested(run_dir):
        return
    try:
        train_stage(
            config,
            resume=(run_dir / CONFIG_FILE).is_file(),
            display=_Silent(),
            callbacks=[TuneReportCallback()],
            attach=payload["attach"],
            sign_images=False,  # of so short a run: the confirmed one is signed
        )
    except PhirayError as error:
        if is_stop_requested(run_dir):
            return
        write_json(run_dir.with_name(run_dir.name + ERROR_SUFFIX), payload_from_error(error))
        raise


def read_trial_error(run_dir: Path) -> PhirayError | None:
    """Return the mistake that ended a trial; None without one."""
    path = run_dir.with_name(run_dir.name + ERROR_SUFFIX)
    if not path.exists():
        return None
    return error_from_payload(json.loads(path.read_text(encoding="utf-8")))


def read_own_fault(run_dir: Path) -> PhirayError | None:
    """Return the mistake of a trial whose settings made it: it would meet the same step again."""
    error = read_trial_error(run_dir)
    return error if error is not None and error.exit_code == ExitCode.BAD_DATA else None


def measured_until_checkpoint(run_dir: Path) -> list[tuple[int, float]]:
    """Return steps and validation figures that a run which goes on will not measure again."""
    newest = newest_checkpoint(run_dir) if run_dir.is_dir() else None
    if newest is None or not (run_dir / METRICS_NAME).exists():
        return []
    last = read_checkpoint(newest).step
    return [
        (int(str(record["step"])), float(str(record[VALIDATION_METRIC])))
        for record in read_metrics(run_dir)
        if VALIDATION_METRIC in record and int(str(record["step"])) <= last
    ]


class _Silent:
    """Shows nothing: what a trial does is shown by the driver, from its files."""

    def progress(self, description: str, done: int, total: int) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def step(self, run: str, record: Record, max_steps: int) -> None:
        """Ignore it."""
