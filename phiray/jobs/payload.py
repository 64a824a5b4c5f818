"""What crosses the border between the driver and its workers: plain JSON both ways.

Limits: nothing here is pickled by class; each side validates what it gets.
"""

from dataclasses import dataclass
from typing import TypedDict

from pydantic import JsonValue


class WorkerPayload(TypedDict):
    """What a worker is told."""

    config: dict[str, JsonValue]
    """The stage's settings, validated anew by the worker."""
    run_dir: str
    """Absolute path of the run's folder."""
    manifest: str
    """The run's manifest, JSON; it travels with each checkpoint."""
    rows: str
    """Hash of the rows as the driver sees them (`RowSource.quick_fingerprint`)."""
    features: str | None
    """Absolute path of the list of cached features; none without a cache."""
    start: str
    """Names this start of the run; Ray starts its workers anew under the same name."""
    node: str
    """Ray's id of the node where the driver is: what that one sees, all must see."""


@dataclass(frozen=True)
class TrainedRun:
    """What rank 0 returns."""

    steps: int
    loop_seconds: float
    """Time in the loop of this attempt, start-up apart."""
