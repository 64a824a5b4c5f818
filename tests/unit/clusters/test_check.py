import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from phiray.clusters.check import check_cluster_file
from phiray.config.training import ClusterConfig
from phiray.errors import ConfigError, ExitCode
from tests.unit.clusters.cluster_builders import (
    AWS,
    GCP,
    LOCAL,
    RAYCLUSTER,
    RAYJOB,
    SHIPPED,
    changed,
    line_of,
)


def lines(tmp_path: Path, text: str) -> list[int]:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return [found.line for found in check_cluster_file(path)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_are_valid(path: Path) -> None:
    assert check_cluster_file(path) == []


def test_no_shipped_file_is_left_out() -> None:
    assert {path.name for path in SHIPPED} == {
        *("aws.yaml", "gcp.yaml", "local.yaml", "raycluster.yaml", "rayjob.yaml")
    }


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml", "local.yaml"])
def test_ray_itself_takes_the_shipped_files(name: str) -> None:
    path = next(path for path in SHIPPED if path.name == name)
    validate_config(prepare_config(yaml.safe_load(path.read_text())))


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (AWS, "idle_timeout_minutes: 5", "idle_timeout_minute: 5"),
        (AWS, "    max_workers: 8", "    max_worker: 8"),
        (LOCAL, "setup_commands:", "setup_command:"),
        (RAYCLUSTER, "enableInTreeAutoscaling", "enableInTreeAutoScaling"),
        (RAYCLUSTER, "volumeMounts:", "volumeMount:"),
        (RAYJOB, "shutdownAfterJobFinishes", "shutdownAfterJobFinish"),
    ],
)
def test_misspelt_key_is_found_on_its_line(tmp_path: Path, text: str, old: str, new: str) -> None:
    wrong = changed(text, old, new)
    assert line_of(wrong, new) in lines(tmp_path, wrong)


def test_ray_refuses_what_is_found() -> None:
    wrong = yaml.safe_load(changed(AWS, "    max_workers: 8", "    max_worker: 8"))
    with pytest.raises(Exception, match="Additional properties are not allowed"):
        validate_config(prepare_config(wrong))


def test_each_document_is_checked_and_others_are_passed_over(tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n---\n"
    wrong = secret + changed(RAYCLUSTER, "    mode: token", "    mode: none")
    assert line_of(wrong, "authOptions") in lines(tmp_path, wrong)
    assert lines(tmp_path, secret + RAYCLUSTER) == []


def test_other_kinds_of_kuberay_are_named(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("apiVersion: ray.io/v1\nkind: RayService\n")
    assert "RayService is not checked" in check_cluster_file(path)[0].problem
    path.write_text("apiVersion: ray.io/v1\nkind: [RayCluster]\n")
    assert "is not checked" in check_cluster_file(path)[0].problem


@pytest.mark.parametrize("text", ["a: 1\n", "", "- 1\n"])
def test_file_without_a_cluster_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="describes no cluster"):
        lines(tmp_path, text)


def test_missing_file_is_missing_input(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist") as caught:
        check_cluster_file(tmp_path / "none.yaml")
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
    with pytest.raises(ConfigError, match="is no file"):
        check_cluster_file(tmp_path)


def test_broken_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.yaml:2:"):
        lines(tmp_path, "cluster_name: x\n  provider: {\n")


@pytest.mark.parametrize("text", [AWS, GCP, RAYCLUSTER, RAYJOB])
def test_shipped_nodes_carry_the_labels_that_the_file_tells_runs_to_ask_for(text: str) -> None:
    asked = dict(re.findall(r"cluster\.(worker|reader)_labels=(\{.*?\})", text))
    settings = {f"{who}_labels": yaml.safe_load(labels) for who, labels in asked.items()}
    cluster = ClusterConfig.model_validate(settings)
    carried = [yaml.safe_load(labels) for labels in re.findall(r"^ +labels: (\{.*\})$", text, re.M)]
    assert carried == [cluster.reader_labels, cluster.worker_labels]
    assert cluster.reader_labels != cluster.worker_labels
