import pytest

from phiray.clusters.findings import Finding
from phiray.clusters.launcher import check_launcher_rules
from phiray.config.yaml_text import parse_yaml
from tests.unit.clusters.cluster_builders import AWS, GCP, LOCAL, changed, line_of


def found(text: str) -> list[Finding]:
    return list(check_launcher_rules(parse_yaml(text, origin="x.yaml")))


@pytest.mark.parametrize("text", [AWS, GCP, LOCAL], ids=["aws", "gcp", "local"])
def test_shipped_files_keep_the_rules(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "old", "new", "at", "problem"),
    [
        (AWS, "export RAY_AUTH_MODE=token; ", "", "--address=$RAY_HEAD_IP", "without a token"),
        (AWS, "RAY_AUTH_MODE=token RAY_health", "RAY_health", "  - >-", "without a token"),
        (AWS, "RAY_AUTH_MODE=token;", "RAY_AUTH_MODE=disabled;", "=disabled", "without a token"),
        (AWS, "  ~/.ray/auth_token: ~/.ray/auth_token", "  {}", "file_mounts", "no token is"),
        (AWS, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "  - >-", "0.0.0.0"),
        (AWS, "--dashboard-host=127.0.0.1", "--dashboard-host ::", "  - >-", "listens on ::"),
        (AWS, "idle_timeout_minutes: 5\n", "", "cluster_name", "no idle time-out"),
        (AWS, "idle_timeout_minutes: 5", "idle_timeout_minutes: 0", "idle_", "0 minutes"),
        (AWS, "idle_timeout_minutes: 5", "idle_timeout_minutes: 600", "idle_", "600 minutes"),
        (AWS, "resources: {CPU: 0}", "resources: {CPU: 4}", "CPU: 4", "the head has 4 CPUs"),
        (AWS, "    resources: {CPU: 16}\n", "", "  decode:", "declares no CPUs"),
        (AWS, "{CPU: 8, GPU: 1}", "{}", "resources: {}", "declares no CPUs"),
        (AWS, "    max_workers: 8\n", "", "  decode:", "no limit of nodes"),
        (AWS, "head_node_type: head", "head_node_type: hed", "head_node_type", "'hed' is none of"),
        (LOCAL, "--num-cpus=0", "", "  - >-", "the head takes work"),
    ],
)
def test_broken_rule_is_found_on_its_line(
    text: str, old: str, new: str, at: str, problem: str
) -> None:
    wrong = changed(text, old, new)
    findings = [item for item in found(wrong) if problem in item.problem]
    assert line_of(wrong, at) in {item.line for item in findings}


def test_spot_head_is_refused() -> None:
    wrong = changed(AWS, "InstanceType: m6i.xlarge", "InstanceMarketOptions: {MarketType: spot}")
    assert any("the head is on spot" in item.problem for item in found(wrong))
    wrong = changed(GCP, "machineType: n2-standard-4", "scheduling: [{preemptible: true}]")
    assert any("the head is on spot" in item.problem for item in found(wrong))


def test_spot_nodes_that_must_always_be_there_are_refused() -> None:
    part = "    resources: {CPU: 8, GPU: 1}\n    min_workers: "
    wrong = changed(AWS, f"{part}0", f"{part}2")
    assert [item.line for item in found(wrong)] == [line_of(wrong, "min_workers: 2")]
    on_demand = changed(
        AWS,
        "    resources: {CPU: 16}\n    min_workers: 0",
        "    resources: {CPU: 16}\n    min_workers: 2",
    )
    assert found(on_demand) == []


def test_file_without_node_types_is_refused() -> None:
    text = AWS[: AWS.index("available_node_types")] + AWS[AWS.index("file_mounts") :]
    assert any("no node type is declared" in item.problem for item in found(text))


def test_file_that_starts_no_ray_is_refused() -> None:
    text = AWS[: AWS.index("worker_start_ray_commands")]
    assert [item.problem for item in found(text)] == [
        "no command starts Ray. Add one with `ray start`."
    ]
