import pytest

from phiray.clusters.findings import Finding
from phiray.clusters.kuberay import check_kuberay_rules
from phiray.config.yaml_text import parse_yaml
from tests.unit.clusters.cluster_builders import RAYCLUSTER, RAYJOB, changed, line_of


def found(text: str) -> list[Finding]:
    return list(check_kuberay_rules(parse_yaml(text, origin="x.yaml")))


@pytest.mark.parametrize("text", [RAYCLUSTER, RAYJOB], ids=["cluster", "job"])
def test_shipped_files_keep_the_rules(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("old", "new", "at", "problem"),
    [
        ("mode: token", "mode: disabled", "authOptions", "without a token"),
        ("  authOptions:\n    mode: token\n", "", "spec:", "without a token"),
        ("Autoscaling: true", "Autoscaling: false", "enableInTree", "does not scale"),
        ("idleTimeoutSeconds: 300", "idleTimeoutSeconds: 86400", "idleTimeout", "86400 s"),
        ("    idleTimeoutSeconds: 300\n", "", "autoscalerOptions", "no idle time-out"),
        ('num-cpus: "0"', 'num-cpus: "4"', "num-cpus", "the head takes work"),
        ("ClusterIP", "LoadBalancer", "serviceType", "opens the dashboard"),
        ("serviceType: ClusterIP", "enableIngress: true", "enableIngress", "an ingress opens"),
        ('limits: {cpu: "16", memory: 32Gi}', "limits: {}", "limits: {}", "no memory"),
        ("      maxReplicas: 8\n", "", "groupName: decode", "no limit of pods"),
        ("restartPolicy: Never", "restartPolicy: Always", "restartPolicy", "Always is declared"),
    ],
)
def test_broken_rule_is_found_on_its_line(old: str, new: str, at: str, problem: str) -> None:
    wrong = changed(RAYCLUSTER, old, new)
    if problem == "no memory":
        wrong = changed(wrong, 'requests: {cpu: "16", memory: 32Gi}', "requests: {cpu: 1}")
    findings = [item for item in found(wrong) if problem in item.problem]
    assert findings, [item.problem for item in found(wrong)]
    assert abs(findings[0].line - line_of(wrong, at)) <= 1


def test_spot_pods_that_must_always_be_there_are_refused() -> None:
    part = "- groupName: train-spot\n      replicas: 0\n      minReplicas: "
    wrong = changed(RAYCLUSTER, f"{part}0", f"{part}1")
    assert [item.line for item in found(wrong)] == [line_of(wrong, "minReplicas: 1")]


def test_spot_head_is_refused() -> None:
    wrong = changed(
        RAYCLUSTER,
        "    template:\n      spec:\n        containers:\n          - name: ray-head",
        "    template:\n      spec:\n        nodeSelector: {gke-spot: 'true'}\n"
        "        containers:\n          - name: ray-head",
    )
    assert any("the head is on spot" in item.problem for item in found(wrong))


def test_job_that_would_start_its_own_ray_is_found() -> None:
    wrong = changed(RAYJOB, " --address auto", "")
    assert [item.line for item in found(wrong)] == [line_of(wrong, "entrypoint:")]


def test_job_whose_cluster_stays_is_found() -> None:
    wrong = changed(RAYJOB, "shutdownAfterJobFinishes: true", "shutdownAfterJobFinishes: false")
    assert [item.line for item in found(wrong)] == [line_of(wrong, "shutdownAfter")]


def test_job_on_a_cluster_that_is_there_is_checked_by_itself() -> None:
    text = RAYJOB[: RAYJOB.index("  rayClusterSpec:")] + "  clusterSelector: {ray.io/cluster: x}\n"
    assert found(text) == []
