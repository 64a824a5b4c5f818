import json
import pickle
from pathlib import Path

import pytest

from phiray.errors import ExitCode, PhirayError, payload_from_error
from phiray.jobs.search.log import SearchLog
from phiray.jobs.search.plan import TRIALS_FOLDER, PlannedTrial
from phiray.jobs.search.watch import SearchWatch, spent_tokens
from phiray.jobs.stop import request_stop
from phiray.training.loop import VALIDATION_METRIC
from tests.displays import SilentDisplay


class Notes(SilentDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


class TuneTrial:
    """What Tune hands to a callback, as far as it is looked at."""

    def __init__(self, number: int) -> None:
        self.config = {"trial": {"number": number}}


def watch(folder: Path, display: Notes) -> SearchWatch:
    watching = SearchWatch(folder, log=SearchLog(folder), display=display, max_steps=30)
    watching.expect(PlannedTrial(0, {}))
    watching.expect(PlannedTrial(1, {"a.b": 2}))
    return watching


def tell(watch: SearchWatch, number: int, *, step: int, nats: float) -> None:
    watch.callback.on_trial_result(
        trial=TuneTrial(number), result={"step": step, VALIDATION_METRIC: nats}
    )


def test_a_stopped_trial_is_logged_as_such(tmp_path: Path) -> None:
    display = Notes()
    watching = watch(tmp_path, display)
    with watching:
        watching.callback.on_trial_start(trial=TuneTrial(1))
        tell(watching, 1, step=10, nats=2.0)
        tell(watching, 1, step=20, nats=1.5)
        request_stop(tmp_path / TRIALS_FOLDER / "trial-001")
        watching.callback.on_trial_complete(trial=TuneTrial(1))
    assert SearchLog(tmp_path).endings == {1: "stopped"}
    assert display.said == [
        "trial-001: a.b=2",
        "trial-001: stopped at step 20 with 1.5000 nats per token",
    ]


def test_a_trial_with_a_result_is_complete(tmp_path: Path) -> None:
    watching = watch(tmp_path, Notes())
    tell(watching, 0, step=30, nats=1.0)
    run_dir = tmp_path / TRIALS_FOLDER / "trial-000"
    run_dir.mkdir(parents=True)
    (run_dir / "result.json").write_text("{}")
    watching.callback.on_trial_complete(trial=TuneTrial(0))
    assert SearchLog(tmp_path).endings == {0: "complete"}


def test_a_trial_that_a_limit_cut_off_has_not_ended(tmp_path: Path) -> None:
    watching = watch(tmp_path, Notes())
    tell(watching, 0, step=10, nats=1.0)
    watching.callback.on_trial_complete(trial=TuneTrial(0))
    watching.callback.on_trial_error(trial=TuneTrial(1))
    assert SearchLog(tmp_path).endings == {}


def test_results_without_a_figure_are_passed_over(tmp_path: Path) -> None:
    watching = watch(tmp_path, Notes())
    watching.callback.on_trial_result(trial=TuneTrial(0), result={"done": True})
    assert SearchLog(tmp_path).results == []


def test_callback_can_be_pickled_without_what_it_watches(tmp_path: Path) -> None:
    assert pickle.dumps(watch(tmp_path, Notes()).callback)


def test_spent_tokens_are_those_of_all_trials(tmp_path: Path) -> None:
    for name, tokens in (("trial-000", [5, 6]), ("trial-001", [7])):
        run_dir = tmp_path / TRIALS_FOLDER / name
        run_dir.mkdir(parents=True)
        lines = [json.dumps({"step": n, "label_tokens": t}) for n, t in enumerate(tokens, 1)]
        (run_dir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert spent_tokens(tmp_path) == 18


def leave_error(folder: Path, number: int, code: ExitCode) -> None:
    path = folder / TRIALS_FOLDER / f"trial-{number:03d}.error.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(payload_from_error(PhirayError("no number", exit_code=code))))


def test_a_trial_whose_settings_fail_has_failed_and_is_said_at_once(tmp_path: Path) -> None:
    display = Notes()
    watching = watch(tmp_path, display)
    leave_error(tmp_path, 1, ExitCode.BAD_DATA)
    watching.callback.on_trial_error(trial=TuneTrial(1))
    assert SearchLog(tmp_path).endings == {1: "failed"}
    assert display.said == ["trial-001: failed: no number"]


@pytest.mark.parametrize(("number", "code"), [(0, ExitCode.BAD_DATA), (1, ExitCode.RESUMABLE)])
def test_what_base_meets_or_what_may_pass_ends_no_trial(
    tmp_path: Path, number: int, code: ExitCode
) -> None:
    watching = watch(tmp_path, Notes())
    leave_error(tmp_path, number, code)
    watching.callback.on_trial_error(trial=TuneTrial(number))
    assert SearchLog(tmp_path).endings == {}
