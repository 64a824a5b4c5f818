"""Train on two raylets of this machine, each with a cache of its own, and damage their copies.

    python -m tests.ray.node_cache_run NODES TOLD.json CONFIG.yaml ...

The caches are NODES/0 and NODES/1. After each run one file that both hold is damaged in both, so
that the next run of the same data meets it. Writes what befell each run, and what the log says of
damage. A process of its own, since one process holds one Ray.
"""

import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from phiray.config.load import load_config
from phiray.jobs.run_folder import run_folder
from phiray.jobs.train import train_stage
from phiray.node import NODE_CACHE
from phiray.runtime import ensure_token
from phiray.training.metrics_log import EVENTS_NAME
from tests.displays import SilentDisplay
from tests.ray.elastic_run import is_parent, raylet_pid
from tests.ray.run_builders import read_lines

DAMAGE = b"damaged"


def main(folder: Path, out: Path, sources: list[str]) -> None:
    """Train one after the other."""
    ensure_token()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    caches = [folder / "0", folder / "1"]
    nodes = [cluster.add_node(num_cpus=2, env_vars={NODE_CACHE: str(cache)}) for cache in caches]
    ray.init(address=cluster.address, log_to_driver=False)
    runs = []
    for source in sources:
        config = load_config(source)
        with ThreadPoolExecutor(1) as watcher:
            found = watcher.submit(nodes_of_ranks, run_folder(config) / EVENTS_NAME, nodes)
            train_stage(config, resume=False, display=SilentDisplay())
        told = {"node_of_rank": found.result(), "held": [held(cache) for cache in caches]}
        runs.append(told | {"damaged": damage_one(caches)})
    lines = [
        line
        for file in Path(cluster.head_node.get_logs_dir_path()).glob("worker-*.err")
        for line in file.read_text().splitlines()
        if "event=node_cache" in line
    ]
    out.write_text(json.dumps({"runs": runs, "log": lines}))


# Ray's nodes, whose class is private.
def nodes_of_ranks(events: Path, nodes: list[object]) -> list[int]:
    """Wait for the workers to start; return the number of each one's node, while they live."""
    while not events.exists() or "\n" not in events.read_text():
        time.sleep(0.02)
    return [
        next(i for i, node in enumerate(nodes) if is_parent(raylet_pid(node), pid))
        for pid in read_lines(events)[0]["pids"]
    ]


def held(cache: Path) -> dict[str, str]:
    """Return the hash of each copy's bytes by its name."""
    copies = [path for path in cache.glob("*/*") if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in copies}


def damage_one(caches: list[Path]) -> str:
    """Damage the newest file that all nodes hold, in place; return its name."""
    names = set.intersection(*({path.name for path in cache.glob("*/*")} for cache in caches))
    name = max(names, key=lambda name: next(caches[0].glob(f"*/{name}")).stat().st_mtime_ns)
    for cache in caches:
        with next(cache.glob(f"*/{name}")).open("r+b") as file:
            file.write(DAMAGE)
    return name


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
