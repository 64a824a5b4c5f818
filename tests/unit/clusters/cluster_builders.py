"""The shipped cluster files as text, with parts changed."""

from pathlib import Path

CLUSTER = Path(__file__).resolve().parents[3] / "cluster"
AWS = (CLUSTER / "aws.yaml").read_text()
GCP = (CLUSTER / "gcp.yaml").read_text()
LOCAL = (CLUSTER / "local.yaml").read_text()
RAYCLUSTER = (CLUSTER / "kuberay" / "raycluster.yaml").read_text()
RAYJOB = (CLUSTER / "kuberay" / "rayjob.yaml").read_text()
SHIPPED = sorted([*CLUSTER.glob("*.yaml"), *(CLUSTER / "kuberay").glob("*.yaml")])


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def line_of(text: str, part: str) -> int:
    """Return the number of the first line that holds a text."""
    return next(index for index, line in enumerate(text.splitlines(), 1) if part in line)
