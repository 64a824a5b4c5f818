"""Run the trials of a search with Ray Tune, on this machine or on a cluster.

    run_trials(config, trials, folder=..., log=..., ...) -> None

Source: a function trainable around a TorchTrainer. On a cluster, what only waits (that function,
Ray's controller of a training) stays on the head, which no cloud takes away.
Limits: what the trials found is in the log and in their folders; Tune's own outcome is not read.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError, RayTaskError
from ray.tune.experiment import Trial

from phiray.config.search import AnySearch
from phiray.errors import ClusterError, ExitCode
from phiray.jobs.cluster.shared_storage import RAY_FOLDER
from phiray.jobs.display import Display
from phiray.jobs.search.log import SearchLog
from phiray.jobs.search.plan import TRIALS_FOLDER, PlannedTrial, num_trials, plan_trials
from phiray.jobs.search.scheduler import GentleScheduler, told_scheduler
from phiray.jobs.search.suggest import PlannedSearcher
from phiray.jobs.search.trial import ERROR_SUFFIX, TrialPayload, read_trial_error, run_trial
from phiray.jobs.search.watch import SearchWatch, spent_tokens
from phiray.jobs.train import cpus_reserved, needs_of, told_of_needs
from phiray.jobs.waiting import Need, count_resources
from phiray.jobs.worker import num_readers
from phiray.runtime import HEAD_RESOURCES, possible_growth, ray_session, token_path

_SECONDS_BETWEEN_COUNTS = 5.0
_TRIAL_CPUS = 0.01
"""What the function around a trial's training reserves: it only waits."""


def run_trials(
    config: AnySearch,
    trials: Sequence[PlannedTrial],
    *,
    folder: Path,
    log: SearchLog,
    display: Display,
    attach: bool,
) -> None:
    """Run the trials that have not ended, and those that Optuna draws meanwhile.

    Args:
        config: of the search, with absolute paths.
        trials: all that are planned.
        folder: of the search.
        log: says which trials have ended; what is measured goes there.
        display: told of progress.
        attach: this process is a job of a cluster, whose workers train.

    Raises:
        PhirayError: of a trial whose mistake is no matter of its own settings.
        ClusterError: 75 if Ray lost a process that it cannot start anew.
    """
    search, base = config.search, config.base
    ended_before = set(log.endings)
    watch = SearchWatch(folder, log=log, display=display, max_steps=base.training.max_steps)

    def begin(trial: PlannedTrial) -> dict[str, TrialPayload]:
        watch.expect(trial)
        _error_file(folder, trial).unlink(missing_ok=True)
        return {"trial": _payload(config, trial, folder=folder, attach=attach)}

    searcher = PlannedSearcher(config, trials, folder=folder, log=log, begin=begin)
    num_cpus = cpus_reserved(base.cluster, readers=num_readers(base)) * search.max_concurrent + 1
    with ray_session(num_cpus=num_cpus, dashboard=True, attach=attach) as url, watch:
        if url is not None:
            display.note(f"Ray dashboard: {url}, with the token in {token_path()}")
        tuner = _build_tuner(
            config,
            searcher,
            folder=folder,
            log=log,
            watch=watch,
            num_samples=num_trials(search, trials) - len(ended_before),
            attach=attach,
        )
        run_dir = _folder_of_first(folder, ended_before)
        waiting = told_of_needs(base, run_dir, display=display) if attach else nullcontext()
        try:
            with waiting:
                outcome = tuner.fit()
        except (KeyboardInterrupt, SystemExit):
            display.note(f"{config.run.name}: stopped. The same command goes on with it.")
            raise
        except RuntimeError as error:
            if isinstance(error.__cause__, RayError):  # Tune expects no killed process
                raise _lost_process(error.__cause__) from error
            raise
    ran = [trial for trial in plan_trials(config, folder) if trial.number not in ended_before]
    _raise_first_error(folder, ran, log=log, errors=outcome.errors)


def _folder_of_first(folder: Path, ended: set[int]) -> Path:
    """Return the folder of the first trial that has not ended."""
    first = next(number for number in count() if number not in ended)
    return folder / TRIALS_FOLDER / PlannedTrial(first, {}).name


def _payload(config: AnySearch, trial: PlannedTrial, *, folder: Path, attach: bool) -> TrialPayload:
    return {
        "search": config.model_dump(mode="json"),
        "folder": str(folder),
        "number": trial.number,
        "changes": trial.changes,
        "attach": attach,
    }


def _build_tuner(
    config: AnySearch,
    searcher: PlannedSearcher,
    *,
    folder: Path,
    log: SearchLog,
    watch: SearchWatch,
    num_samples: int,
    attach: bool,
) -> tune.Tuner:
    search, max_steps = config.search, config.base.training.max_steps
    scheduler = told_scheduler(search, max_steps=max_steps, results=log.ended_results())
    return tune.Tuner(
        tune.with_resources(run_trial, HEAD_RESOURCES if attach else {"CPU": _TRIAL_CPUS}),
        tune_config=tune.TuneConfig(
            scheduler=GentleScheduler(scheduler, folder=folder / TRIALS_FOLDER),
            search_alg=searcher,
            num_samples=num_samples,
            max_concurrent_trials=trials_at_once(config) if attach else search.max_concurrent,
            time_budget_s=search.max_seconds,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex[:12],
            storage_path=str(folder / RAY_FOLDER),
            callbacks=[watch.callback],
            stop=_token_limit(folder, search.max_label_tokens),
            verbose=0,
        ),
    )


def _trial_name(trial: Trial) -> str:
    return PlannedTrial(trial.config["trial"]["number"], {}).name


def _token_limit(folder: Path, limit: int | None) -> tune.Stopper | None:
    return None if limit is None else _TokenLimit(folder, limit)


class _TokenLimit(tune.Stopper):  # type: ignore[misc]  # Ray's class is untyped
    """Ends the search once its trials have learnt from so many tokens."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._next_look = 0.0

    def __call__(self, _trial_id: str, _result: dict[str, Any]) -> bool:
        return False  # no trial is stopped for what it measured

    def stop_all(self) -> bool:
        now = time.monotonic()
        if now < self._next_look:  # Tune asks ten times a second
            return False
        self._next_look = now + _SECONDS_BETWEEN_COUNTS
        return spent_tokens(self._folder) >= self._limit


def _error_file(folder: Path, trial: PlannedTrial) -> Path:
    return folder / TRIALS_FOLDER / (trial.name + ERROR_SUFFIX)


def _raise_first_error(
    folder: Path, ran: Sequence[PlannedTrial], *, log: SearchLog, errors: Sequence[Exception]
) -> None:
    """Say why a trial failed, as its own command would have; not if its own settings made it."""
    unfinished = [trial for trial in ran if log.endings.get(trial.number) != "failed"]
    errors = errors[len(ran) - len(unfinished) :]
    for trial in unfinished:
        error = read_trial_error(folder / TRIALS_FOLDER / trial.name)
        if error is not None:
            raise error
    if errors and isinstance(errors[0], RayError) and not isinstance(errors[0], RayTaskError):
        raise _lost_process(errors[0]) from errors[0]
    if errors:
        raise RuntimeError("a trial met a fault of phiray's") from errors[0]


def _lost_process(error: RayError) -> ClusterError:
    """Say that a process which watched over a trial is gone: killed, or for want of memory."""
    return ClusterError(
        f"Ray lost a process of the search: {str(error).strip().splitlines()[0]} What ended is "
        "kept. Free what it lacked (`phiray doctor` shows the memory); the same command goes on.",
        exit_code=ExitCode.RESUMABLE,
    )


def trials_at_once(config: AnySearch) -> int:
    """Return how many trials the cluster has room for, at least 1 and at most `max_concurrent`.

    More would only wait for one another's workers, or their readers, and give up after some time.
    Labels bound what is there; what may still come counts in full, for Ray does not say with which
    labels it comes.
    """
    rooms = [_room_for(need) for need in needs_of(config.base) if need is not None]
    return max(1, min(config.search.max_concurrent, *rooms))


def _room_for(need: Need) -> int:
    """Return how often the cluster has what is needed, in use or not."""
    found, growth = count_resources(need.labels), possible_growth()
    return min(
        int((found.get(kind, 0.0) + growth.get(kind, 0.0)) / count)
        for kind, count in need.resources.items()
        if count
    )
