"""Train an elastic run on two raylets of this machine, drain the node of one worker, then kill it.

    python -m tests.ray.preempted_run CONFIG.yaml STEPS_BEFORE TOLD.json

The node is drained after so many steps, with a deadline as a spot provider gives, and killed once
that has passed. Writes when it was drained and when it was to go, and the step at that moment. A
process of its own, since one process holds one Ray.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from phiray.config.load import load_config
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.runtime import attach_ray, ensure_token
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME
from tests.displays import SilentDisplay
from tests.ray.elastic_run import HEALTH, is_parent, raylet_pid, wait_for_step
from tests.ray.run_builders import read_lines

NOTICE_SECONDS = 20
NOTICE = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "a spot notice"]
NOTICE += ["--deadline-remaining-seconds", str(NOTICE_SECONDS)]
SECONDS_AFTER = 5.0
"""Until a machine whose time is over has gone."""


def main(source: str, steps_before: int, out: Path) -> None:
    """Run it to its end."""
    ensure_token()
    config = load_config(source)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": HEALTH}
    )
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address  # as in a job
    attach_ray()
    run_dir = run_folder(config)
    training = threading.Thread(
        target=lambda: train_stage(config, resume=False, display=SilentDisplay(), attach=True),
        daemon=True,
    )
    training.start()  # Ray makes nodes in the main thread alone
    wait_for_step(run_dir, steps_before)
    rank_1 = read_lines(run_dir / EVENTS_NAME)[0]["pids"][1]
    lost = next(node for node in nodes if is_parent(raylet_pid(node), rank_1))
    node_id = getattr(lost, "node_id")  # noqa: B009  # of a private class
    words = ["--address", cluster.address, "--node-id", node_id, *NOTICE]
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", *words]
    told: dict[str, float] = {"drained_at_step": count_steps(run_dir)}
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    told["deadline"] = time.time() + NOTICE_SECONDS
    time.sleep(NOTICE_SECONDS)
    told["steps_at_deadline"] = count_steps(run_dir)
    time.sleep(SECONDS_AFTER)
    os.kill(raylet_pid(lost), signal.SIGKILL)
    out.write_text(json.dumps(told))
    training.join()


def count_steps(run_dir: Path) -> int:
    return (run_dir / METRICS_NAME).read_text().count("\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
