"""Train an elastic run on two raylets of this machine, lose the node of one worker, get one back.

    python -m tests.ray.elastic_run CONFIG.yaml STEPS_BEFORE KILLS TOLD.json

Each node is killed so many steps after two workers began. Writes for each kill when it was, when
the first step after it was made, and when a new node joined. A process of its own, since one
process holds one Ray.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

from phiray.config.load import load_config
from phiray.errors import PhirayError
from phiray.jobs.run_folder import run_folder
from phiray.jobs.stop import is_stop_requested, request_stop
from phiray.jobs.train import train_stage
from phiray.runtime import attach_ray, ensure_token
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.displays import SilentDisplay
from tests.ray.run_builders import read_lines

# A head notices a lost raylet within seconds.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
SECONDS_ALONE = 1.0
"""A new node joins so long after the run went on without the lost one."""


def main(source: str, steps_before: int, kills: int, out: Path) -> None:
    """Run it to its end, or to the last kill if there are several."""
    ensure_token()
    config = load_config(source)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH}
    )
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address  # as in a job
    attach_ray()
    run_dir = run_folder(config)

    def train() -> None:
        try:
            train_stage(config, resume=False, display=SilentDisplay(), attach=True)
        except PhirayError:
            if not is_stop_requested(run_dir):
                raise

    training = threading.Thread(target=train, daemon=True)
    threading.excepthook = end_with  # nobody would make the step that is waited for
    training.start()  # Ray makes nodes in the main thread alone
    told = []
    for kill in range(kills):
        begun = wait_for_start(run_dir, 2 * kill + 1)
        wait_for_step(run_dir, begun["step"] + steps_before)
        rank_1 = begun["pids"][1]
        lost = next(node for node in nodes if is_parent(raylet_pid(node), rank_1))
        told.append({"killed": time.time()})
        os.kill(raylet_pid(lost), signal.SIGKILL)
        os.kill(rank_1, signal.SIGKILL)  # a node that is gone takes its workers along
        nodes.remove(lost)
        resumed = wait_for_start(run_dir, 2 * kill + 2)
        wait_for_step(run_dir, resumed["step"] + 1)
        told[-1]["first_step"] = time.time()
        time.sleep(SECONDS_ALONE)
        told[-1]["joined"] = time.time()
        nodes.append(cluster.add_node(num_cpus=2))
    if kills > 1:
        request_stop(run_dir)
    training.join()
    out.write_text(json.dumps(told))


def end_with(told: threading.ExceptHookArgs) -> None:
    """End this process, with the traceback, where its training fails."""
    traceback.print_exception(told.exc_type, told.exc_value, told.exc_traceback)
    os._exit(1)


# Any of Ray's nodes, whose class is private.
def raylet_pid(node: object) -> int:
    processes = getattr(node, "all_processes")  # noqa: B009
    return int(processes["raylet"][0].process.pid)


def is_parent(parent: int, child: int) -> bool:
    text = Path(f"/proc/{child}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1]) == parent


def wait_for_step(run_dir: Path, step: int) -> None:
    while not (run_dir / METRICS_NAME).exists() or (
        (run_dir / METRICS_NAME).read_text().count("\n") < step
    ):
        time.sleep(0.02)


# Any: JSON of a file; the caller knows its keys.
def wait_for_start(run_dir: Path, number: int) -> dict[str, Any]:
    """Wait until the run has begun so often; return what it said of that."""
    while True:
        events = read_lines(run_dir / EVENTS_NAME) if (run_dir / EVENTS_NAME).exists() else []
        starts = [event for event in events if event["event"] in ("start", "resume")]
        if len(starts) >= number:
            return starts[number - 1]
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
