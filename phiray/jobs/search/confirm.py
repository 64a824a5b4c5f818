"""Train the winner of a search and its base anew, on seeds that chose nothing, and compare them.

Source: the best of many trials is best partly by luck (the winner's curse), so its own figure
proves nothing; pairs by seed, Student's t.
Limits: one metric; an interval over few seeds is wide.
"""

import statistics
from pathlib import Path

from phiray.config.search import AnySearch, ProjectorSearch
from phiray.config.stages import AnyStageConfig
from phiray.evals.collect import EVALS_FOLDER
from phiray.evals.metrics import METRICS
from phiray.evals.results import RESULT_FILE, SuiteResult, read_result
from phiray.evals.run import evaluate_checkpoint
from phiray.evals.search_results import Confirmation, SeedResult
from phiray.evals.seeds import t_interval
from phiray.jobs.cluster.evaluation import evaluate_on_cluster
from phiray.jobs.display import Display
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.runtime import ray_session
from phiray.stages.parts import CONFIG_FILE

CONFIRM_FOLDER = "confirm"


def confirm_best(
    config: AnySearch,
    best: AnyStageConfig,
    *,
    folder: Path,
    num_cpus: int,
    display: Display,
    attach: bool = False,
) -> Confirmation:
    """Train both settings on `search.confirm_seeds` seeds and compare them on held-out data.

    Runs that are there already are not trained again.

    Args:
        config: the search.
        best: the winner's settings.
        folder: of the search.
        num_cpus: that a training reserves.
        display: told of progress.
        attach: this process is a job of a cluster.
    """
    first = config.base.run.seed + 1
    suite, metric, arm = (
        ("caption", "caption_nats", "{run}")
        if isinstance(config, ProjectorSearch)
        else ("lm", "bits_per_byte", "{run}@gutenberg")
    )
    results = []
    with ray_session(num_cpus=num_cpus, attach=attach):
        for seed in range(first, first + config.search.confirm_seeds):
            scores = {}
            for name, settings in (("base", config.base), ("best", best)):
                run = _named(settings, f"{name}-seed-{seed}", seed=seed, folder=folder)
                run_dir = _train(run, display=display, attach=attach)
                result = _score(run_dir, suite, display=display, attach=attach)
                scores[name] = result.arms[arm.format(run=run.run.name)][metric].value
            results.append(SeedResult(seed, **scores))
    differences = [result.best - result.base for result in results]
    kind = METRICS[metric]
    return Confirmation(
        suite=suite,
        metric=metric,
        unit=kind.unit,
        higher_is_better=kind.higher_is_better,
        results=results,
        difference=statistics.fmean(differences),
        ci95=t_interval(differences),
    )


def _named(config: AnyStageConfig, name: str, *, seed: int, folder: Path) -> AnyStageConfig:
    place = {"name": name, "seed": seed, "output_dir": str(folder / CONFIRM_FOLDER)}
    return config.model_copy(update={"run": config.run.model_copy(update=place)})


def _train(config: AnyStageConfig, *, display: Display, attach: bool) -> Path:
    run_dir = run_folder(config)
    resume = (run_dir / CONFIG_FILE).is_file()
    train_stage(config, resume=resume, display=display, attach=attach)
    return run_dir


def _score(run_dir: Path, suite: str, *, display: Display, attach: bool) -> SuiteResult:
    folder = run_dir / EVALS_FOLDER / suite
    if (folder / RESULT_FILE).is_file():
        return read_result(folder)
    if attach:
        return evaluate_on_cluster(suite, run_dir, display=display)
    return evaluate_checkpoint(suite, run_dir, progress=display.progress)
