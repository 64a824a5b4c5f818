import json

import pytest

from phiray.clusters.schema import (
    KUBERAY_SCHEMA,
    check_schema,
    kuberay_schemas,
    launcher_schema,
)
from phiray.config.yaml_text import parse_yaml
from tests.unit.clusters.cluster_builders import AWS, RAYCLUSTER, changed


def problems(text: str, schema: dict[str, object]) -> list[tuple[int, str]]:
    found = check_schema(parse_yaml(text, origin="x.yaml"), schema)
    return [(item.line, item.problem) for item in found]


def test_unknown_key_is_suggested_for() -> None:
    wrong = changed(AWS, "max_workers: 12", "max_worker: 12")
    [(line, problem)] = problems(wrong, launcher_schema())
    assert wrong.splitlines()[line - 1] == "max_worker: 12"
    assert problem == "the key 'max_worker' is not known here. Did you mean max_workers?"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("max_workers: 12", "max_workers: many", '"many" is no integer'),
        ("cluster_name: phiray\n", "", "'cluster_name' is missing here"),
        ("idle_timeout_minutes: 5", "idle_timeout_minutes: -1", "-1: -1 is less than the minimum"),
    ],
)
def test_wrong_value_is_said(old: str, new: str, problem: str) -> None:
    [(_, told)] = problems(changed(AWS, old, new), launcher_schema())
    assert told.startswith(problem)


def test_missing_resources_of_a_node_type_are_found() -> None:
    wrong = changed(AWS, "    resources: {CPU: 16}\n", "")
    [(line, problem)] = problems(wrong, launcher_schema())
    assert "  decode:" in wrong.splitlines()[line - 1]
    assert problem.startswith("'resources' is missing")


def test_schema_of_kuberay_looks_into_pods() -> None:
    schema = kuberay_schemas()["RayCluster"]
    wrong = changed(RAYCLUSTER, "containerPort: 6379", "containerPort: six")
    [(_, problem)] = problems(wrong, schema)
    assert problem == '"six" is no integer. Correct it.'


def test_schema_of_kuberay_takes_numbers_or_text_where_kubernetes_does() -> None:
    schema = kuberay_schemas()["RayCluster"]
    assert problems(changed(RAYCLUSTER, 'limits: {cpu: "2"', "limits: {cpu: 2"), schema) == []


def test_schemas_say_where_they_come_from() -> None:
    assert json.loads(KUBERAY_SCHEMA.read_text())["$comment"].startswith("KubeRay v1.7.0")
