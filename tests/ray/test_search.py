"""A search that is killed goes on: each planned trial ends once, stopped where ASHA's rule says.

The kill is a SIGKILL to a real `phiray tune moe`, which starts its own Ray, as for a user.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO

import numpy as np
import psutil
import pytest
from ray.util import placement_group_table

from phiray.config.load import load_search
from phiray.config.search import AnySearch, MoeSearch, SearchConfig, grace_steps
from phiray.config.show import yaml_from_config
from phiray.config.stages import ScratchConfig
from phiray.evals.search_results import SearchSummary
from phiray.jobs.search.log import SearchLog
from phiray.jobs.search.plan import PLAN_FILE, TRIALS_FOLDER
from phiray.jobs.search.run import run_search, search_folder
from phiray.runtime import token_path
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.displays import SilentDisplay
from tests.ray.run_builders import Inputs, build_scratch, read_lines, shared_out

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
PATIENCE_SECONDS = 240
MAX_STEPS, INTERVAL = 720, 80
REFUSED = (401, 403)


def build_search(inputs: Inputs, out: Path) -> AnySearch:
    """Search learning rates of which only that of base learns anything."""
    base = shared_out(build_scratch(inputs, out), workers=1, accumulation=1)
    assert isinstance(base, ScratchConfig)
    steps = {"max_steps": MAX_STEPS, "checkpoint_every_steps": INTERVAL}
    base = base.model_copy(update={"training": base.training.model_copy(update=steps)})
    search = SearchConfig(
        space=["training.learning_rate=choice(1e-6, 1e-7)"], num_trials=3, confirm_seeds=0
    )
    file = out / "search.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml_from_config(MoeSearch(search=search, base=base)))
    return load_search(str(file), "moe", overrides=[f"run.output_dir={out}"])


def start_search(out: Path, *changes: str) -> "subprocess.Popen[str]":
    words = ["tune", "moe", "--config", str(out / "search.yaml")]
    for change in (f"run.output_dir={out}", *changes):
        words += ["--set", change]
    return subprocess.Popen(
        [sys.executable, "-m", "phiray", *words], stderr=subprocess.PIPE, text=True
    )


def dashboard_of(lines: IO[str]) -> str:
    """Read the address that the command prints first."""
    for line in lines:
        if "Ray dashboard: " in line:
            return line.partition("Ray dashboard: ")[2].partition(",")[0]
    raise AssertionError("no address was printed")


def status_of(url: str, token: str | None) -> int:
    request = urllib.request.Request(f"{url}/api/version")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def wait_for_lines(path: Path, number: int, *, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") >= number:
            return
        assert process.poll() is None, f"ended with {process.returncode}"
        time.sleep(0.02)
    raise AssertionError(f"no {number} lines in {path} within {PATIENCE_SECONDS} s")


def asha_stops(search: SearchConfig, log: SearchLog, *, max_steps: int) -> dict[int, int]:
    """Apply ASHA's rule (arXiv 1810.05934, algorithm 2) to the log; trial and step of each stop."""
    grace, factor = grace_steps(search, max_steps=max_steps), search.reduction_factor
    count = math.ceil(math.log(max_steps / grace, factor) - 1e-9)
    rungs: dict[float, dict[int, float]] = {grace * factor**k: {} for k in range(count)}
    stops: dict[int, int] = {}
    for result in log.results:
        reached = [rung for rung in rungs if rung <= result.step]
        if not reached or result.trial in rungs[max(reached)]:
            continue
        others = list(rungs[max(reached)].values())
        # the best 1 / factor of the others go on, by lowest loss
        if others and result.validation_nats > np.percentile(others, 100 / factor):
            stops[result.trial] = result.step
        rungs[max(reached)][result.trial] = result.validation_nats
    return stops


def check_trials(search: AnySearch, summary: SearchSummary) -> None:
    folder = search_folder(search)
    stops = asha_stops(search.search, SearchLog(folder), max_steps=MAX_STEPS)
    assert set(stops) == {1, 2}
    assert {t.number for t in summary.trials if t.ending == "stopped"} == set(stops)
    for trial in summary.trials:
        records = read_lines(folder / TRIALS_FOLDER / f"trial-{trial.number:03d}" / METRICS_NAME)
        assert [record["step"] for record in records] == list(range(1, trial.steps + 1))
        if trial.number in stops:
            assert stops[trial.number] <= trial.steps < MAX_STEPS
    assert summary.trials[0].ending == "complete"
    assert summary.best == 0


@pytest.mark.cluster
def test_a_killed_search_of_optuna_goes_on_with_what_it_drew(
    inputs: Inputs, tmp_path: Path
) -> None:
    short = ["base.training.max_steps=60", "base.training.checkpoint_every_steps=20"]
    space = (
        "['training.learning_rate=loguniform(1e-4, 1e-2)', 'training.warmup_steps=choice(0, 99)']"
    )
    search = build_search(inputs, tmp_path)
    changes = [*short, "search.algorithm=optuna", "search.scheduler=none", f"search.space={space}"]
    folder = search_folder(search)
    process = start_search(tmp_path, *changes)
    wait_for_lines(folder / TRIALS_FOLDER / "trial-001" / METRICS_NAME, 2, process=process)
    drawn = json.loads((folder / PLAN_FILE).read_text())
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert process.stderr is not None
    process.stderr.close()
    assert [trial["number"] for trial in drawn] == [0, 1]
    again = start_search(tmp_path, *changes)
    _, told = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, told
    planned = json.loads((folder / PLAN_FILE).read_text())
    assert planned[:2] == drawn
    assert [trial["number"] for trial in planned] == [0, 1, 2]
    # 99 steps of warm-up are more than there are steps: drawn again
    assert {trial["changes"]["training.warmup_steps"] for trial in planned[1:]} == {0}
    assert SearchLog(folder).endings == dict.fromkeys(range(3), "complete")
    assert told.count("the settings of `base`, unchanged") == 0, "it was trained before"


def test_a_killed_search_goes_on_and_leaves_nothing_behind(
    inputs: Inputs, shared_ray: None, tmp_path: Path
) -> None:
    search = build_search(inputs, tmp_path)
    trials = search_folder(search) / TRIALS_FOLDER
    process = start_search(tmp_path)
    assert process.stderr is not None
    url = dashboard_of(process.stderr)
    assert status_of(url, token_path().read_text().strip()) == 200
    assert status_of(url, None) in REFUSED
    assert status_of(url, "0" * 64) in REFUSED
    wait_for_lines(trials / "trial-001" / METRICS_NAME, 2, process=process)
    first_start = read_lines(trials / "trial-000" / EVENTS_NAME)
    process.send_signal(signal.SIGKILL)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    process.stderr.close()
    assert SearchLog(search_folder(search)).endings == {0: "complete"}
    summary = run_search(search, display=SilentDisplay())
    check_trials(search, summary)
    assert read_lines(trials / "trial-000" / EVENTS_NAME) == first_start, "it was run once"
    states = {group["state"] for group in placement_group_table().values()}
    assert states == {"REMOVED"}
    children = psutil.Process(os.getpid()).children(recursive=True)
    names = [name for child in children if (name := child.name()).startswith("ray::")]
    assert not any("RayTrainWorker" in name or "run_trial" in name for name in names), names
