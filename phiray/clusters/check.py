"""Check a cluster file offline: `phiray cluster check FILE`.

    check_cluster_file(path) -> list[Finding]

Source: Ray's schema for `ray up`, KubeRay's CRDs, and phiray's own rules (DESIGN 8).
Limits: YAML without aliases and tags; what the cloud itself would refuse is not seen. Documents of
other kinds (a Secret, a ConfigMap) are passed over.
"""

from pathlib import Path

from phiray.clusters.findings import Finding, finding, value_of
from phiray.clusters.kuberay import check_kuberay_rules
from phiray.clusters.launcher import NODE_TYPES, check_launcher_rules
from phiray.clusters.schema import check_schema, kuberay_schemas, launcher_schema
from phiray.config.yaml_text import YamlTree, decode_yaml, parse_documents
from phiray.errors import ConfigError, ExitCode

_LAUNCHER_KEYS = ("cluster_name", "provider", NODE_TYPES)
_RAY_API = "ray.io/"


def check_cluster_file(path: Path) -> list[Finding]:
    """List all that is wrong with a cluster file, by line.

    Raises:
        ConfigError: 66 if it is missing, 78 if it is no YAML or describes no cluster.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path} {'is no file' if path.exists() else 'does not exist'}. It must be a file for "
            "`ray up`, or a RayCluster or RayJob of KubeRay. Correct the path.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    text = decode_yaml(path.read_bytes(), origin=str(path))
    checked = [_check(tree) for tree in parse_documents(text, origin=str(path))]
    known = [found for found in checked if found is not None]
    if not known:
        raise ConfigError(
            f"{path} describes no cluster. It must have `cluster_name` and `provider` (for `ray "
            "up`), or be of kind RayCluster or RayJob (for KubeRay)."
        )
    return sorted((found for part in known for found in part), key=lambda found: found.line)


def _check(tree: YamlTree) -> list[Finding] | None:
    """Check one document; None if it is of another kind."""
    if str(value_of(tree, ("apiVersion",))).startswith(_RAY_API):
        kind = str(value_of(tree, ("kind",)))
        schemas = kuberay_schemas()
        if kind not in schemas:
            told = f"{kind} is not checked. Expected one of {', '.join(schemas)}."
            return [finding(tree, ("kind",), told)]
        return [*check_schema(tree, schemas[kind]), *check_kuberay_rules(tree)]
    if any(value_of(tree, (key,)) is not None for key in _LAUNCHER_KEYS):
        return [*_check_launcher_schema(tree), *check_launcher_rules(tree)]
    return None


def _check_launcher_schema(tree: YamlTree) -> list[Finding]:
    found = check_schema(tree, launcher_schema())
    if value_of(tree, ("provider", "type")) != "local":
        return found
    # Ray moves it into the one node type that a local cluster has, and only then checks
    return [item for item in found if item.place != "min_workers"]
