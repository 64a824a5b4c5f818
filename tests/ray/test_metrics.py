"""What Prometheus would scrape from a run, and what the dashboard asks it for.

Takes a minute, so it runs by `pytest -m cluster` alone.
"""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from phiray.stages.parts import config_yaml
from tests.ray.head import Head, ray_head
from tests.ray.run_builders import Inputs, build_scratch, shared_out

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.cluster]
DASHBOARD = Path(__file__).resolve().parents[2] / "cluster/monitoring/grafana-dashboard.json"
PATIENCE_SECONDS = 150


def targets(head: Head) -> list[str]:
    """Return what Prometheus is told to scrape."""
    request = urllib.request.Request(f"{head.url}/api/prometheus/sd")
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return [target for group in json.load(answer) for target in group["targets"]]


def scrape(head: Head) -> set[str]:
    """Return the names of all series that the head's exporters give."""
    names: set[str] = set()
    for target in targets(head):
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        names |= {family.name for family in text_string_to_metric_families(text)}
    return names


def test_every_query_of_the_dashboard_names_a_metric_of_a_real_scrape(
    inputs: Inputs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = shared_out(build_scratch(inputs, tmp_path / "scraped-run"), workers=1, accumulation=1)
    training = config.training.model_copy(update={"max_steps": 20_000})
    file = tmp_path / "config.yaml"
    file.write_text(config_yaml(config.model_copy(update={"training": training})))
    asked = {
        name
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for target in panel["targets"]
        for name in re.findall(r"ray_\w+", target["expr"])
    }
    assert len(asked) == 11
    found: set[str] = set()
    with ray_head(tmp_path_factory.mktemp("head"), num_cpus=2) as head:
        words = ["train", "scratch", "--config", str(file), "--address", head.url]
        process = subprocess.Popen(
            [sys.executable, "-m", "phiray", *words],
            env=head.environment,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not asked <= found and time.monotonic() < deadline:
            time.sleep(2.0)
            found = scrape(head)
        process.kill()
        process.wait()
    assert asked <= found, asked - found
