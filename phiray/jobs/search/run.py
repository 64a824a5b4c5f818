"""Search settings with Ray Tune: trials that are runs, stopped early, resumed after a kill.

    run_search(config, display=...) -> SearchSummary

Source: Ray Tune with Train V2, a function trainable around a TorchTrainer; ASHA (arXiv 1810.05934).
Tune's own restoring reads pickles and forgets ASHA's rungs, so each start makes a new experiment of
the trials that have not ended, with a scheduler that has been told what the others measured.
Limits: no PBT, whose exploits would have to pass through Tune's own checkpoints.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from phiray.checkpoints.files import write_json, write_text
from phiray.config.load import load_search, value_at
from phiray.config.search import AnySearch, SearchConfig
from phiray.config.show import yaml_from_config
from phiray.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    ExitCode,
)
from phiray.evals.search_page import write_search_page
from phiray.evals.search_results import SearchSummary, TrialSummary, read_summary
from phiray.jobs.display import Display
from phiray.jobs.paths import absolute, with_absolute_paths
from phiray.jobs.run_folder import differences
from phiray.jobs.search.confirm import confirm_best
from phiray.jobs.search.inputs import check_inputs
from phiray.jobs.search.log import SearchLog
from phiray.jobs.search.optuna_draws import check_optuna
from phiray.jobs.search.plan import (
    TRIALS_FOLDER,
    PlannedTrial,
    keep_trials,
    num_trials,
    plan_trials,
    trial_config,
)
from phiray.jobs.search.trials import run_trials
from phiray.jobs.search.watch import spent_tokens
from phiray.jobs.train import check_workers, cpus_reserved
from phiray.jobs.worker import num_readers
from phiray.node import num_cores
from phiray.runtime import check_job, ensure_token
from phiray.training.metrics_log import METRICS_NAME, read_metrics

SETTINGS_FILE = "search.yaml"
SUMMARY_FILE = "search.json"
BEST_FILE = "best.yaml"
"""Settings of the best trial, which `phiray train --config` takes."""
PAGE_FILE = "report.html"
MIN_SEEDS = 2
_MAY_CHANGE = {"max_concurrent", "max_seconds", "max_label_tokens", "confirm_seeds"}
"""When a search ends, not what it tries."""


def run_search(config: AnySearch, *, display: Display, attach: bool = False) -> SearchSummary:
    """Run the trials that have not ended, and say which was best.

    Args:
        config: of the search; relative paths are those of this process.
        display: told of progress.
        attach: this process is a job of a cluster, whose workers train.

    Raises:
        PhirayError: of the kind and exit code that fits; the search stays resumable.
    """
    started = time.monotonic()
    if attach:
        check_job()
    else:
        check_workers(config.base.cluster)
        _check_concurrency(config)
        ensure_token()
    if config.search.algorithm == "optuna":
        check_optuna()
    config = _with_absolute_paths(config)
    folder = search_folder(config)
    trials = plan_trials(config, folder)
    _open_folder(config, folder)
    keep_trials(trials, folder)
    log = SearchLog(folder)
    limit = config.search.max_label_tokens
    is_open = len(log.endings) < num_trials(config.search, trials)
    if is_open and (limit is None or spent_tokens(folder) < limit):
        check_inputs(
            trial_config(config, trials[0], folder=folder),
            folder,
            progress=display.progress,
            note=display.note,
        )
        run_trials(config, trials, folder=folder, log=log, display=display, attach=attach)
        trials = plan_trials(config, folder)  # Optuna has drawn some
    earlier = read_summary(folder / SUMMARY_FILE)
    if not is_open and earlier is not None and _is_confirmed(earlier, config.search):
        return earlier
    seconds = time.monotonic() - started if is_open else 0.0
    summary = _summarise(config, trials, log=log, folder=folder)
    summary = replace(summary, seconds=round(seconds + (earlier.seconds if earlier else 0.0), 1))
    best = trial_config(config, trials[summary.best], folder=folder)
    best = best.model_copy(update={"run": config.base.run, "cluster": config.base.cluster})
    write_text(folder / BEST_FILE, yaml_from_config(best, comments=False))
    _write_outcome(summary, config, folder=folder)
    if summary.best != 0 and config.search.confirm_seeds >= MIN_SEEDS:
        confirmation = confirm_best(
            config,
            best,
            folder=folder,
            num_cpus=_cpus_of_trial(config),
            display=display,
            attach=attach,
        )
        summary = replace(summary, confirmation=confirmation)
        _write_outcome(summary, config, folder=folder)
    return summary


def _is_confirmed(summary: SearchSummary, search: SearchConfig) -> bool:
    """Say whether nothing is left to be done about the winner."""
    if summary.best == 0 or search.confirm_seeds < MIN_SEEDS:
        return True
    found = summary.confirmation
    return found is not None and len(found.results) == search.confirm_seeds


def _check_concurrency(config: AnySearch) -> None:
    """Refuse more trials at the same time than there are cores, or GPUs, for their workers.

    Raises:
        ConfigError: with both numbers.
    """
    cluster, at_once = config.base.cluster, config.search.max_concurrent
    room, what = (torch.cuda.device_count(), "GPUs") if cluster.use_gpu else (num_cores(), "cores")
    if at_once * cluster.most_workers > room:
        raise ConfigError(
            f"search.max_concurrent is {at_once}, and each trial has {cluster.most_workers} "
            f"worker(s), but this machine has {room} {what}. Each worker needs one. Lower it, e.g. "
            "--set search.max_concurrent=1."
        )


def search_folder(config: AnySearch) -> Path:
    """Return the folder of a search: `run.output_dir/run.name`."""
    return Path(config.run.output_dir) / config.run.name


def _with_absolute_paths(config: AnySearch) -> AnySearch:
    """Let every path mean the same to the trials, which run in folders of their own."""
    place = {"output_dir": absolute(config.run.output_dir)}
    run, base = config.run.model_copy(update=place), with_absolute_paths(config.base)
    return config.model_copy(update={"run": run, "base": base})


def _open_folder(config: AnySearch, folder: Path) -> None:
    """Make the folder, or find that it holds the same search.

    Raises:
        ConfigError: if it holds another.
        CheckpointError: 73 if it holds something else.
    """
    path = folder / SETTINGS_FILE
    if path.is_file():
        old = load_search(str(path), config.tune)
        changed = [
            *differences(old.run.model_dump(), config.run.model_dump(), "run."),
            *differences(_fixed(old.search), _fixed(config.search), "search."),
            *(
                f"base.{line}"
                for line in differences(old.base.model_dump(), config.base.model_dump())
            ),
            # a run may change it, but trials are measured, and compared, at their checkpoints
            *differences(
                old.base.training.checkpoint_every_steps,
                config.base.training.checkpoint_every_steps,
                "base.training.checkpoint_every_steps.",
            ),
        ]
        if changed:
            raise ConfigError(
                f"{folder} holds a search with other settings: {'; '.join(changed)}. To go on with "
                "it, take them back; to begin another, name it otherwise, e.g. "
                f"--set run.name={config.run.name}-2."
            )
        write_text(path, yaml_from_config(config, comments=False))
        return
    if folder.is_dir() and any(folder.iterdir()):
        raise CheckpointError(
            f"{folder} exists and holds no search. A search needs a folder of its own. Name it "
            f"otherwise, e.g. --set run.name={config.run.name}-2.",
            exit_code=ExitCode.CANNOT_CREATE,
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, yaml_from_config(config, comments=False))
    (folder / TRIALS_FOLDER).mkdir(exist_ok=True)


# Any: settings as plain values.
def _fixed(search: SearchConfig) -> dict[str, Any]:
    """Return what may not change when a search goes on."""
    return search.model_dump(exclude=_MAY_CHANGE)


def _summarise(
    config: AnySearch,
    trials: Sequence[PlannedTrial],
    *,
    log: SearchLog,
    folder: Path,
) -> SearchSummary:
    summaries = [_summarise_trial(trial, log=log, folder=folder) for trial in trials]
    complete = {
        trial.validation_nats: trial.number
        for trial in reversed(summaries)
        if trial.ending == "complete" and trial.validation_nats is not None
    }
    if not complete:
        raise ClusterError(
            f"No trial of {folder} was trained to its end before the limit of the search. It "
            "needs at least one. Raise search.max_seconds or search.max_label_tokens, and give "
            "the same command again.",
            exit_code=ExitCode.RESUMABLE,
        )
    return SearchSummary(
        name=config.run.name,
        tune=config.tune,
        trials=summaries,
        best=complete[min(complete)],
        max_steps=config.base.training.max_steps,
        seconds=0.0,
    )


def _summarise_trial(trial: PlannedTrial, *, log: SearchLog, folder: Path) -> TrialSummary:
    run_dir, results = folder / TRIALS_FOLDER / trial.name, log.results_of(trial.number)
    records = read_metrics(run_dir) if (run_dir / METRICS_NAME).exists() else []
    return TrialSummary(
        number=trial.number,
        changes=trial.changes,
        ending=log.endings.get(trial.number, "cut off" if records else "not run"),
        steps=int(str(records[-1]["step"])) if records else 0,
        curve=[(result.step, result.validation_nats) for result in results],
    )


def _write_outcome(summary: SearchSummary, config: AnySearch, *, folder: Path) -> None:
    write_json(folder / SUMMARY_FILE, asdict(summary))
    write_search_page(
        summary,
        dimensions=config.search.dimensions,
        base={item.key: value_at(config.base, item.key) for item in config.search.dimensions},
        out=folder / PAGE_FILE,
    )


def _cpus_of_trial(config: AnySearch) -> int:
    return cpus_reserved(config.base.cluster, readers=num_readers(config.base))
