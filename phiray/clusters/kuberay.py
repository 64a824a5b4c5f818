"""Rules for KubeRay's RayCluster and RayJob, beside their schemas.

Source: KubeRay 1.7: `authOptions` (1.5.1+) makes the token and hands it to all pods; the operator
starts the dashboard on all addresses of the head's pod, so it must be neither published nor without
a token; worker pods of autoscaler v2 must not restart by themselves.
Limits: network policies, TLS and quotas are the cluster's own, and not looked at.
"""

from collections.abc import Iterator

from phiray.clusters.findings import Finding, finding, value_of
from phiray.config.yaml_text import Path, YamlTree

_OPEN_SERVICES = ("LoadBalancer", "NodePort")
_LONGEST_IDLE_SECONDS = 3600


def check_kuberay_rules(tree: YamlTree) -> Iterator[Finding]:
    """Yield what phiray asks of a RayCluster or a RayJob."""
    spec: Path = ("spec",)
    if value_of(tree, ("kind",)) == "RayJob":
        yield from _check_job(tree)
        if value_of(tree, ("spec", "rayClusterSpec")) is None:
            return  # it names a cluster that is there already
        spec = ("spec", "rayClusterSpec")
    yield from _check_cluster(tree, spec)
    yield from _check_head(tree, (*spec, "headGroupSpec"))
    groups = value_of(tree, (*spec, "workerGroupSpecs"))
    for index in range(len(groups) if isinstance(groups, list) else 0):
        yield from _check_workers(tree, (*spec, "workerGroupSpecs", index))


def _check_job(tree: YamlTree) -> Iterator[Finding]:
    entrypoint = value_of(tree, ("spec", "entrypoint"))
    if (
        isinstance(entrypoint, str)
        and "phiray" in entrypoint
        and "--address auto" not in entrypoint
    ):
        yield finding(
            tree,
            ("spec", "entrypoint"),
            "the job would start a Ray of its own. Add `--address auto`.",
        )
    if value_of(tree, ("spec", "shutdownAfterJobFinishes")) is not True:
        yield finding(
            tree,
            ("spec", "shutdownAfterJobFinishes"),
            "the cluster would go on, and cost, after the job. Set it to true.",
        )


def _check_cluster(tree: YamlTree, spec: Path) -> Iterator[Finding]:
    if value_of(tree, (*spec, "authOptions", "mode")) != "token":
        yield finding(
            tree,
            (*spec, "authOptions"),
            "Ray starts without a token: any pod that reaches it runs code. Add `authOptions: "
            "{mode: token}`.",
        )
    if value_of(tree, (*spec, "enableInTreeAutoscaling")) is not True:
        yield finding(
            tree, (*spec, "enableInTreeAutoscaling"), "the cluster does not scale. Set it to true."
        )
    seconds = value_of(tree, (*spec, "autoscalerOptions", "idleTimeoutSeconds"))
    if not isinstance(seconds, int):
        yield finding(
            tree,
            (*spec, "autoscalerOptions", "idleTimeoutSeconds"),
            "no idle time-out is declared: say when unused pods end, e.g. 300.",
        )
    elif not 0 < seconds <= _LONGEST_IDLE_SECONDS:
        yield finding(
            tree,
            (*spec, "autoscalerOptions", "idleTimeoutSeconds"),
            f"{seconds} s until an unused pod ends. It must be above 0 and at most "
            f"{_LONGEST_IDLE_SECONDS}. Take 300.",
        )


def _check_head(tree: YamlTree, head: Path) -> Iterator[Finding]:
    if value_of(tree, (*head, "rayStartParams", "num-cpus")) != "0":
        yield finding(
            tree,
            (*head, "rayStartParams", "num-cpus"),
            'the head takes work, and can starve. Set `num-cpus: "0"`.',
        )
    service = value_of(tree, (*head, "serviceType"))
    if service in _OPEN_SERVICES:
        yield finding(
            tree,
            (*head, "serviceType"),
            f"{service} opens the dashboard beyond the cluster. Take ClusterIP and `kubectl "
            "port-forward`.",
        )
    if value_of(tree, (*head, "enableIngress")) is True:
        yield finding(
            tree,
            (*head, "enableIngress"),
            "an ingress opens the dashboard beyond the cluster. Set it to false.",
        )
    if _is_spot(tree, head):
        yield finding(
            tree, head, "the head is on spot: with it goes the whole cluster. Take it on demand."
        )
    yield from _check_containers(tree, head)


def _check_workers(tree: YamlTree, group: Path) -> Iterator[Finding]:
    yield from _check_containers(tree, group)
    for key in ("minReplicas", "maxReplicas"):
        if not isinstance(value_of(tree, (*group, key)), int):
            yield finding(tree, (*group, key), "no limit of pods is declared. Add it.")
    policy = value_of(tree, (*group, "template", "spec", "restartPolicy"))
    if policy != "Never":
        yield finding(
            tree,
            (*group, "template", "spec", "restartPolicy"),
            f"{policy or 'nothing'} is declared: a pod that comes back by itself is not the one "
            "that the autoscaler lost. Set restartPolicy: Never.",
        )
    fewest = value_of(tree, (*group, "minReplicas"))
    if _is_spot(tree, group) and fewest not in (None, 0):
        yield finding(
            tree,
            (*group, "minReplicas"),
            f"{fewest} spot pods are to be there always, which no cloud promises. Set 0, and let "
            "elastic runs (--workers MIN:MAX) take what there is.",
        )


def _check_containers(tree: YamlTree, group: Path) -> Iterator[Finding]:
    containers = (*group, "template", "spec", "containers")
    found = value_of(tree, containers)
    for index in range(len(found) if isinstance(found, list) else 0):
        path: Path = (*containers, index, "resources")
        limits = value_of(tree, (*path, "limits"))
        requests = value_of(tree, (*path, "requests"))
        declared = {key for part in (limits, requests) if isinstance(part, dict) for key in part}
        missing = [key for key in ("cpu", "memory") if key not in declared]
        if missing:
            yield finding(
                tree,
                path,
                f"the container declares no {' and no '.join(missing)}, so neither Kubernetes nor "
                "the autoscaler can place it. Add limits.",
            )


def _is_spot(tree: YamlTree, group: Path) -> bool:
    """Say whether a node selector or toleration of the pods names spot or preemptible nodes."""
    spec = (*group, "template", "spec")
    selector, tolerations = (
        value_of(tree, (*spec, "nodeSelector")),
        value_of(tree, (*spec, "tolerations")),
    )
    words = f"{selector} {tolerations}".lower()
    return "spot" in words or "preemptible" in words
