"""A run whose node is drained commits a checkpoint first, and goes on from it on the other node.

Takes a minute or two, so it runs by `pytest -m cluster` alone.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phiray.config.training import ClusterConfig
from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from phiray.training.notices import LAST_CALL_SECONDS
from tests.ray.run_builders import Inputs, build_scratch, read_lines, shared_out
from tests.stage_builders import train

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
STEPS, DRAIN_STEP = 2000, 60
SLACK_SECONDS = 5.0
PATIENCE_SECONDS = 400


def test_a_drained_node_costs_the_steps_since_the_notice_alone(
    inputs: Inputs, tmp_path: Path
) -> None:
    config = shared_out(build_scratch(inputs, tmp_path / "spot"), workers=1, accumulation=2)
    steps = {"max_steps": STEPS, "checkpoint_every_steps": STEPS}  # none but for the notice
    # no failure may be forgiven: the lost node must not count as one
    cluster = ClusterConfig(workers=1, max_workers=2, cpus_per_worker=1, max_failures=0)
    training = config.training.model_copy(update=steps)
    config = config.model_copy(update={"training": training, "cluster": cluster})
    file, out = tmp_path / "config.yaml", tmp_path / "told.json"
    file.write_text(config_yaml(config))
    words = ["-m", "tests.ray.preempted_run", str(file), str(DRAIN_STEP), str(out)]
    subprocess.run([sys.executable, *words], timeout=PATIENCE_SECONDS, check=True)
    told = json.loads(out.read_text())
    events = read_lines(run_folder(config) / EVENTS_NAME)
    answers = [event for event in events if event["event"] == "notice answered"]
    starts = [event for event in events if event["event"] in ("start", "resume")]
    sys.stdout.write(f"{told}\n{answers}\n{starts}\n")
    assert [len(event["pids"]) for event in starts] == [2, 1]
    first, last = answers  # as it came, and just before the node went
    assert told["drained_at_step"] < first["step"] < last["step"] <= told["steps_at_deadline"]
    seconds_before = told["deadline"] - last["unix_time_seconds"]
    assert 0 < seconds_before <= LAST_CALL_SECONDS + SLACK_SECONDS
    assert starts[1]["step"] == last["step"]
    # Ray looks at its workers twice a second: what they did until it ended them
    done = told["steps_at_deadline"] - last["step"]
    assert 0 < starts[1]["replayed_steps"] <= done * (1 + SLACK_SECONDS / seconds_before)
    whole = config.model_copy(
        update={
            "cluster": ClusterConfig(),
            "run": config.run.model_copy(update={"output_dir": str(tmp_path / "whole")}),
        }
    )
    train(whole)
    found, wanted = (read_lines(run_folder(run) / METRICS_NAME) for run in (config, whole))
    assert [record["step"] for record in found] == list(range(1, STEPS + 1))
    assert [sorted(r["row_ids"]) for r in found] == [sorted(r["row_ids"]) for r in wanted]
