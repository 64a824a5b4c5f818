"""Train an elastic run on two raylets of this machine, lose the node of one worker, get one back.

    python -m tests.ray.elastic_run CONFIG.yaml KILL_STEP TOLD.json

Writes when the node was killed and when a new one joined. A process of its own, since one process
holds one Ray.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from phiray.config.load import load_config
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.runtime import ensure_token
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


def main(source: str, kill_step: int, out: Path) -> None:
    """Run it to its end."""
    ensure_token()
    config = load_config(source)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH}
    )
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    run_dir = run_folder(config)

    def train() -> None:
        train_stage(config, resume=False, display=SilentDisplay())

    training = threading.Thread(target=train, daemon=True)
    training.start()  # Ray makes nodes in the main thread alone
    wait_for_step(run_dir, kill_step)
    rank_1 = read_lines(run_dir / EVENTS_NAME)[0]["pids"][1]
    lost = next(node for node in nodes if is_parent(raylet_pid(node), rank_1))
    told = {"killed": time.time()}
    os.kill(raylet_pid(lost), signal.SIGKILL)
    os.kill(rank_1, signal.SIGKILL)  # a node that is gone takes its workers along
    wait_for_starts(run_dir, 2)
    time.sleep(SECONDS_ALONE)
    told["joined"] = time.time()
    cluster.add_node(num_cpus=2)
    training.join()
    out.write_text(json.dumps(told))


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


def wait_for_starts(run_dir: Path, starts: int) -> None:
    """Wait until the run has begun so often."""
    while True:
        events = [event["event"] for event in read_lines(run_dir / EVENTS_NAME)]
        if sum(event in ("start", "resume") for event in events) >= starts:
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
