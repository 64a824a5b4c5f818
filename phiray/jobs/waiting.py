"""Say what a run on a cluster waits for until its first step: Ray itself waits without a word.

Limits: what a cluster may grow to is known to its autoscaler alone, so nothing is refused here.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from phiray.jobs.beside import beside
from phiray.jobs.display import Display
from phiray.training.metrics_log import EVENTS_NAME, METRICS_NAME

SECONDS_BETWEEN_NOTES = 30.0
_SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Need:
    """What a part of a run reserves."""

    who: str
    """`workers` or `readers`."""
    resources: Mapping[str, float]
    """By the name of Ray's resource."""
    labels: Mapping[str, str]
    """Of the nodes that may give it; none for all."""


@contextmanager
def told_of_waiting(
    run_dir: Path, workers: Need, *, readers: Need | None, display: Display
) -> Iterator[None]:
    """Say every half a minute what is needed and what is there, until the run makes a step.

    Args:
        run_dir: of the run.
        workers: what the fewest of them need; told of until they begin.
        readers: what they need on nodes of their own; told of after that, as long as there is less.
        display: told of it.
    """

    def follow(done: threading.Event) -> None:
        # the run writes an event as its workers begin, and its metrics with each step
        for due in _until_written(run_dir / EVENTS_NAME, done=done):
            if due:
                display.note(f"{run_dir.name}: {describe_waiting(workers)}")
        if readers is not None:
            for due in _until_written(run_dir / METRICS_NAME, done=done):
                if due and is_lacking(readers):
                    display.note(f"{run_dir.name}: {describe_waiting(readers)}")

    with beside(follow, name="waiting"):
        yield


def describe_waiting(need: Need) -> str:
    """Say in words what is needed, and what of it the cluster has."""
    found = count_resources(need.labels)
    parts = [
        f"{count:g} {kind}s, of which there are {found.get(kind, 0):g}"
        for kind, count in need.resources.items()
        if count
    ]
    told = f"waiting for {need.who}; they need {' and '.join(parts)}"
    if not need.labels:
        return told
    return f"{told} on nodes with the labels {say_labels(need.labels)}"


def say_labels(labels: Mapping[str, str]) -> str:
    """Write labels as `ray start --labels` takes them."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


def is_lacking(need: Need) -> bool:
    """Tell whether the cluster has less than is needed, in use or not."""
    found = count_resources(need.labels)
    return any(found.get(kind, 0) < count for kind, count in need.resources.items())


def count_resources(labels: Mapping[str, str]) -> dict[str, float]:
    """Add up what the living nodes with these labels have."""
    found: dict[str, float] = {}
    for node in ray.nodes():
        if node["Alive"] and labels.items() <= node["Labels"].items():
            for kind, count in node["Resources"].items():
                found[kind] = found.get(kind, 0) + count
    return found


def _until_written(file: Path, *, done: threading.Event) -> Iterator[bool]:
    """Look at a file until it changes or all is `done`; say with each look if a note is due."""
    size = _size(file)
    due = time.monotonic() + SECONDS_BETWEEN_NOTES
    while not done.wait(_SECONDS_BETWEEN_LOOKS) and _size(file) == size:
        is_due = time.monotonic() >= due
        if is_due:
            due += SECONDS_BETWEEN_NOTES
        yield is_due


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
