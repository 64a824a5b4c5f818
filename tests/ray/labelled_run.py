"""Train on raylets of this machine with labels: one for workers, one for readers, a head for none.

    python -m tests.ray.labelled_run CONFIG.yaml TOLD.json

The node for workers has room for readers as well, and the other way round: labels alone keep them
apart. Writes on which nodes actors of each kind were, and what was said by two further runs: one
whose workers, one whose readers ask for a label that no node has. A process of its own, since one
process holds one Ray.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from ray._private.state import actors
from ray.cluster_utils import Cluster

from phiray.config.load import change_config, load_config
from phiray.config.stages import AnyStageConfig
from phiray.jobs import waiting
from phiray.jobs.run_folder import run_folder
from phiray.jobs.stop import request_stop
from phiray.jobs.train import train_stage
from phiray.runtime import attach_ray, ensure_token
from tests.displays import SilentDisplay

ROLES = ("train", "decode")
PATIENCE_SECONDS = 60


class Notes(SilentDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def main(source: str, out: Path) -> None:
    ensure_token()
    config = load_config(source)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = {
        role: getattr(cluster.add_node(num_cpus=4, labels={"phiray/role": role}), "node_id")  # noqa: B009  # of a private class
        for role in ROLES
    }
    os.environ["RAY_ADDRESS"] = cluster.address  # as in a job
    attach_ray()
    train_stage(config, resume=False, display=SilentDisplay(), attach=True)
    places: dict[str, list[str]] = {}
    for actor in actors().values():
        places.setdefault(actor["ActorClassName"], []).append(actor["Address"]["NodeID"])
    waiting.SECONDS_BETWEEN_NOTES = 1.0
    said = [wait_in_vain(config, key) for key in ("worker_labels", "reader_labels")]
    out.write_text(json.dumps({"nodes": nodes, "places": places, "said": said}))
    os._exit(0)  # the runs that wait would wait on


def wait_in_vain(config: AnyStageConfig, key: str) -> str:
    """Start a run of which a part asks for a label that no node has; return what is said of it."""
    changes = [f"run.name={key.replace('_', '-')}", f"cluster.{key}={{phiray/role: nowhere}}"]
    config = change_config(config, changes)
    notes = Notes()

    def train() -> None:
        train_stage(config, resume=False, display=notes, attach=True)

    threading.Thread(target=train, daemon=True).start()
    who = key.partition("_")[0]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for text in notes.said:
            if f"waiting for {who}s" in text and "nowhere" in text:
                request_stop(run_folder(config))
                return text
        time.sleep(0.1)
    raise AssertionError(f"nothing was said of {key}: {notes.said}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
