"""A real autoscaler on this machine: a queued run brings nodes, trains, and they go again.

Its nodes are raylets that Ray's own fake provider starts. Takes two to three minutes, so it runs by
`pytest -m cluster` alone.
"""

import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from phiray.jobs.run_folder import run_folder
from phiray.stages.parts import config_yaml
from phiray.training.metrics_log import METRICS_NAME
from tests.ray.head import count_nodes, ray_head
from tests.ray.run_builders import Inputs, build_scratch, read_lines, shared_out

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
PATIENCE_SECONDS = 240
IDLE_MINUTES = 0.5
"""Workers take longer than a few seconds to start on a new node, which is idle until then."""
STEPS = 40


def scaling(gcs_address: str) -> str:
    """Write what `ray start` asks of an autoscaler: up to two nodes of two CPUs, from none."""
    empty: dict[str, object] = {"docker": {}, "file_mounts": {}}
    empty |= {f"{kind}_commands": [] for kind in ("initialization", "setup")}
    empty |= {f"{kind}_setup_commands": [] for kind in ("head", "worker")}
    empty |= {f"{kind}_start_ray_commands": [] for kind in ("head", "worker")}
    empty |= {key: [] for key in ("cluster_synced_files", "rsync_exclude", "rsync_filter")}
    return yaml.safe_dump(
        empty
        | {
            "cluster_name": "phiray-test",
            "max_workers": 2,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": IDLE_MINUTES,
            "file_mounts_sync_continuously": False,
            "auth": {},
            "provider": {
                "type": "fake_multinode",
                "gcs_address": gcs_address,
                "head_node_id": "f" * 51 + "00000",
                "launch_multiple": True,
                "use_node_id_as_ip": True,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "head_node_type": "ray.head.default",
            "available_node_types": {
                "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}},
                "node": {
                    "resources": {"CPU": 2},
                    "node_config": {},
                    "min_workers": 0,
                    "max_workers": 2,
                },
            },
        }
    )


def test_a_queued_run_brings_two_nodes_and_they_go_after_it(
    inputs: Inputs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = shared_out(build_scratch(inputs, tmp_path / "scaled-run"), workers=2, accumulation=1)
    training = config.training.model_copy(update={"max_steps": STEPS})
    config = config.model_copy(update={"training": training})
    file = tmp_path / "config.yaml"
    file.write_text(config_yaml(config))
    with ray_head(tmp_path_factory.mktemp("head"), num_cpus=0, scaling=scaling) as head:
        counts = [(time.monotonic(), count_nodes(head))]
        words = ["train", "scratch", "--config", str(file), "--address", head.url]
        process = subprocess.Popen(
            [sys.executable, "-m", "phiray", *words, "--workers", "2"],
            env=head.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and (process.poll() is None or counts[-1][1] > 0):
            time.sleep(0.5)
            counts.append((time.monotonic(), count_nodes(head)))
        _, told = process.communicate(timeout=5)
    start = counts[0][0]
    log = [
        f"{next(iter(group))[0] - start:.1f} s: {number} nodes"
        for number, group in groupby(counts, key=lambda pair: pair[1])
    ]
    sys.stdout.write("\n".join(log) + "\n")
    assert process.returncode == 0, told
    assert len(read_lines(run_folder(config) / METRICS_NAME)) == STEPS
    numbers = [number for number, _ in groupby(number for _, number in counts)]
    assert numbers[0] == numbers[-1] == 0
    assert max(numbers) == 2
