"""Check a file against a JSON schema: unknown keys, wrong types, what is missing, by line.

Source: `ray-schema.json` of the installed Ray, which `ray up` checks against; KubeRay's CRDs, in
the short form that `cluster/kuberay/make_schema.py` makes.
Limits: Ray does not look into `node_config`, which is the cloud's own; nor does this.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from phiray.clusters.findings import Finding, finding
from phiray.config.messages import suggest
from phiray.config.yaml_text import YamlTree

KUBERAY_SCHEMA = Path(__file__).with_name("kuberay_schema.json")
_SHOWN = 60

# Any: JSON schemas, that jsonschema reads.
Schema = dict[str, Any]


@cache
def launcher_schema() -> Schema:
    """Return the schema of files for `ray up`, from the installed Ray."""
    spec = find_spec("ray")  # finds the package, and does not import it
    assert spec is not None, "a dependency of phiray"
    assert spec.origin is not None
    schema: Schema = json.loads(
        (Path(spec.origin).parent / "autoscaler/ray-schema.json").read_text()
    )
    return schema


@cache
def kuberay_schemas() -> dict[str, Schema]:
    """Return the schema of each kind of KubeRay's that phiray knows."""
    record = json.loads(KUBERAY_SCHEMA.read_text(encoding="utf-8"))
    return {kind: part | {"$defs": record["$defs"]} for kind, part in record["kinds"].items()}


def check_schema(tree: YamlTree, schema: Schema) -> list[Finding]:
    """List all that a schema does not allow."""
    errors = Draft202012Validator(schema).iter_errors(tree.value)
    return [found for error in errors for found in _findings(tree, error)]


def _findings(tree: YamlTree, error: ValidationError) -> Iterator[Finding]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(error.schema.get("properties", {}))
        for key in error.instance.keys() - set(known):
            hint = suggest(key, known) or " Leave it out."
            yield finding(tree, (*path, key), f"the key {key!r} is not known here.{hint}")
        return
    value = json.dumps(error.instance, default=str)
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    match error.validator:
        case "required":
            missing = error.message.split("'")[1]
            yield finding(tree, path, f"{missing!r} is missing here. Add it.")
        case "type":
            expected = error.validator_value
            words = " or ".join([expected] if isinstance(expected, str) else expected)
            yield finding(tree, path, f"{shown} is no {words}. Correct it.")
        case _:
            yield finding(tree, path, f"{shown}: {error.message[:_SHOWN]}. Correct it.")
