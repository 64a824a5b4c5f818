"""Listen to Tune: log each measurement and how each trial ended, and show what goes on.

Source: Tune's callbacks, which are called in the driver in the order of its decisions.
Limits: one driver.
"""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from phiray.jobs.display import Display
from phiray.jobs.search.log import SearchLog, TrialEnd, TrialResult
from phiray.jobs.search.plan import TRIALS_FOLDER, PlannedTrial
from phiray.jobs.search.trial import read_own_fault
from phiray.jobs.stop import is_stop_requested
from phiray.jobs.tail import shown_steps
from phiray.jobs.train import RESULT_FILE
from phiray.training.loop import VALIDATION_METRIC
from phiray.training.metrics_log import METRICS_NAME, read_metrics


class SearchWatch:
    """What the driver does with what Tune tells; to be entered while trials run."""

    def __init__(
        self,
        folder: Path,
        *,
        log: SearchLog,
        display: Display,
        max_steps: int,
    ) -> None:
        """Watch no trial yet."""
        self._folder = folder / TRIALS_FOLDER
        self._log = log
        self._display = display
        self._max_steps = max_steps
        self._trials: dict[int, PlannedTrial] = {}
        self._shown: dict[int, ExitStack] = {}
        self.callback = _Callback(self)

    def __enter__(self) -> None:
        """Nothing is shown before a trial starts."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop showing."""
        for shown in self._shown.values():
            shown.close()

    def expect(self, trial: PlannedTrial) -> None:
        """Watch a trial that is about to start."""
        self._trials[trial.number] = trial

    def begun(self, number: int) -> None:
        """Show a trial's steps from here on."""
        trial = self._trials[number]
        told = ", ".join(trial.overrides) or "the settings of `base`, unchanged"
        self._display.note(f"{trial.name}: {told}")
        shown = self._shown.setdefault(number, ExitStack())
        run_dir = self._folder / trial.name
        shown.enter_context(shown_steps(run_dir, display=self._display, max_steps=self._max_steps))

    def measured(self, number: int, *, step: int, nats: float) -> None:
        """Log a figure."""
        self._log.add(TrialResult(number, step, nats))

    def ended(self, number: int) -> None:
        """Log how a trial ended; one that a limit cut off has not, and goes on another time.

        What the data of all trials do, trial 0 meets as well: its error ends the search. Another's
        is that of its settings, such as a learning rate at which the loss is no number.
        """
        name = self._trials[number].name
        results = self._log.results_of(number)
        figure = f" with {results[-1].validation_nats:.4f} nats per token" if results else ""
        if (self._folder / name / RESULT_FILE).exists():
            self._log.add(TrialEnd(number, "complete"))
            self._display.note(f"{name}: complete{figure}")
        elif results and is_stop_requested(self._folder / name):
            self._log.add(TrialEnd(number, "stopped"))
            self._display.note(f"{name}: stopped at step {results[-1].step}{figure}")
        elif number and (fault := read_own_fault(self._folder / name)) is not None:
            self._log.add(TrialEnd(number, "failed"))
            self._display.note(f"{name}: failed: {fault.message}")
        if number in self._shown:
            self._shown.pop(number).close()


def spent_tokens(folder: Path) -> int:
    """Count the label tokens that all trials of a search have learnt from."""
    return sum(
        int(str(record["label_tokens"]))
        for path in (folder / TRIALS_FOLDER).glob(f"*/{METRICS_NAME}")
        for record in read_metrics(path.parent)
    )


class _Callback(tune.Callback):  # type: ignore[misc]  # Ray's class is untyped
    """Hands Tune's calls on, by the number of the trial."""

    def __init__(self, watch: SearchWatch) -> None:
        self._watch = watch

    def __getstate__(self) -> dict[str, object]:
        """Leave all out of Tune's pickled record of the search: phiray goes on from its own log."""
        return {}

    # Any: Tune names what it tells: iteration, trials, trial, result.
    def on_trial_start(self, **told: Any) -> None:
        self._watch.begun(_number(told["trial"]))

    def on_trial_result(self, **told: Any) -> None:
        result = told["result"]
        if VALIDATION_METRIC in result:
            self._watch.measured(
                _number(told["trial"]),
                step=int(result["step"]),
                nats=float(result[VALIDATION_METRIC]),
            )

    def on_trial_complete(self, **told: Any) -> None:
        self._watch.ended(_number(told["trial"]))

    def on_trial_error(self, **told: Any) -> None:
        self._watch.ended(_number(told["trial"]))


def _number(trial: Trial) -> int:
    return int(trial.config["trial"]["number"])
