"""Make `phiray/clusters/kuberay_schema.json` from KubeRay's own CRDs.

    python cluster/kuberay/make_schema.py RELEASE ray.io_rayclusters.yaml ray.io_rayjobs.yaml

The two files stand in `ray-operator/config/crd/bases` of github.com/ray-project/kuberay, under
Apache-2.0. What is left out: descriptions, and all versions but v1. What is added: no unknown keys,
which is what `kubectl apply --validate=strict` asks for. Parts that come again (a pod, above all)
stand once.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

OUT = Path(__file__).resolve().parents[2] / "phiray/clusters/kuberay_schema.json"
MIN_SHARED = 500
"""Characters of a part that is worth a place of its own."""

# Any: JSON schemas.
Schema = dict[str, Any]


def main(release: str, files: list[str]) -> None:
    """Write the schema of each kind, by its name."""
    kinds: dict[str, Schema] = {}
    for file in files:
        crd = yaml.load(Path(file).read_text(), Loader=yaml.CSafeLoader)["spec"]
        version = next(found for found in crd["versions"] if found["name"] == "v1")
        kinds[crd["names"]["kind"]] = strict(version["schema"]["openAPIV3Schema"])
    counts: Counter[str] = Counter()
    count_parts(kinds, counts)
    shared = [text for text, n in counts.items() if n > 1 and len(text) >= MIN_SHARED]
    names = {text: f"part{index}" for index, text in enumerate(sorted(shared, key=len))}
    record = {
        "$comment": f"KubeRay {release} (Apache-2.0), made by cluster/kuberay/make_schema.py",
        "$defs": {
            name: {key: refer(part, names) for key, part in json.loads(text).items()}
            for text, name in names.items()
        },
        "kinds": refer(kinds, names),
    }
    OUT.write_text(json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n")


def strict(schema: Schema) -> Schema:
    """Return a schema without descriptions, in which unknown keys are refused."""
    kept: Schema = {}
    for key, value in schema.items():
        match key:
            case "description" | "default" | "nullable" | "format":
                continue
            case "properties":
                kept[key] = {name: strict(part) for name, part in value.items()}
            case "items" | "additionalProperties" if isinstance(value, dict):
                kept[key] = strict(value)
            case _ if not key.startswith("x-kubernetes-"):
                kept[key] = value
    defaults = [name for name, part in schema.get("properties", {}).items() if "default" in part]
    if "required" in kept:  # what has a default is filled in before the check
        kept["required"] = [name for name in kept["required"] if name not in defaults]
    is_open = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if "properties" in kept and "additionalProperties" not in kept and not is_open:
        kept["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        kept = {"type": ["integer", "string"]}
    return kept


def text_of(part: Schema) -> str:
    """Return a part as text, the same for equal parts."""
    return json.dumps(part, sort_keys=True)


def count_parts(part: object, counts: Counter[str]) -> None:
    """Count how often each object schema stands anywhere below."""
    if isinstance(part, dict):
        if part.get("type") == "object":
            counts[text_of(part)] += 1
        for value in part.values():
            count_parts(value, counts)
    elif isinstance(part, list):
        for value in part:
            count_parts(value, counts)


def refer(part: object, names: dict[str, str]) -> object:
    """Put references where a shared part stands."""
    if isinstance(part, dict):
        name = names.get(text_of(part)) if part.get("type") == "object" else None
        if name is not None:
            return {"$ref": f"#/$defs/{name}"}
        return {key: refer(value, names) for key, value in part.items()}
    if isinstance(part, list):
        return [refer(value, names) for value in part]
    return part


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
