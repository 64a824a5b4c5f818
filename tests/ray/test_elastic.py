"""An elastic run goes on when a node is lost, and grows again when one joins: the rows of the plan.

Takes three to four minutes, so it runs by `pytest -m cluster` alone. `bench/elastic.py` measures
how long five such losses take.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from phiray.config.training import ClusterConfig
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.runtime import ray_session
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.displays import SilentDisplay
from tests.ray.run_builders import LOSS, Inputs, build_scratch, read_lines, shared_out

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
STEPS, INTERVAL, KILL_STEP = 1500, 50, 120
PATIENCE_SECONDS = 400
RELATIVE_TOLERANCE = 1e-5
STEPS_COMPARED = 100
"""After the number of workers has changed for the first time."""


def test_a_run_outlives_the_node_of_one_worker_and_grows_again(
    inputs: Inputs, tmp_path: Path
) -> None:
    config = shared_out(build_scratch(inputs, tmp_path / "elastic"), workers=1, accumulation=2)
    steps = {"max_steps": STEPS, "checkpoint_every_steps": INTERVAL}
    cluster = ClusterConfig(workers=1, max_workers=2, cpus_per_worker=1)
    training = config.training.model_copy(update=steps)
    config = config.model_copy(update={"training": training, "cluster": cluster})
    file = tmp_path / "config.yaml"
    file.write_text(config_yaml(config))
    out = tmp_path / "told.json"
    words = ["-m", "tests.ray.elastic_run", str(file), str(KILL_STEP), "1", str(out)]
    subprocess.run([sys.executable, *words], timeout=PATIENCE_SECONDS, check=True)
    (told,) = json.loads(out.read_text())
    events = read_lines(run_folder(config) / EVENTS_NAME)
    starts = [event for event in events if event["event"] in ("start", "resume")]
    assert [len(event["pids"]) for event in starts] == [2, 1, 2]
    assert starts[1]["replayed_steps"] > 0
    assert starts[2]["unix_time_seconds"] > told["joined"]
    sys.stdout.write(f"{told['first_step'] - told['killed']:.1f} s from kill to the first step\n")
    whole = config.model_copy(
        update={
            "cluster": ClusterConfig(workers=2, cpus_per_worker=1),
            "run": config.run.model_copy(update={"output_dir": str(tmp_path / "whole")}),
        }
    )
    with ray_session(num_cpus=4):
        train_stage(whole, resume=False, display=SilentDisplay())
    found, wanted = (read_lines(run_folder(run) / METRICS_NAME) for run in (config, whole))
    assert [sorted(r["row_ids"]) for r in found] == [sorted(r["row_ids"]) for r in wanted]
    losses = [
        torch.tensor([record[LOSS] for record in records]).double() for records in (found, wanted)
    ]
    changed = starts[1]["step"]
    torch.testing.assert_close(losses[0][:changed], losses[1][:changed], rtol=0, atol=0)
    # Another number of workers rounds otherwise, and learning carries that on: 600 steps after the
    # change, losses were up to 7e-5 apart.
    end = changed + STEPS_COMPARED
    torch.testing.assert_close(losses[0][:end], losses[1][:end], rtol=RELATIVE_TOLERANCE, atol=0)
