"""Let Ray count its nodes anew as soon as one is lost or joins.

Source: Ray 2.60's AutoscalingCoordinator, by whose count an elastic run is sized, looks every 20 s
by itself; until then, a run asks again and again for workers on a node that is gone.
Limits: asks for the list of nodes once a second.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from phiray.jobs.beside import beside
from phiray.runtime import recount_nodes

_SECONDS_BETWEEN_LOOKS = 1.0

_log = logging.getLogger(__name__)


@contextmanager
def noticed_nodes() -> Iterator[None]:
    """Watch the nodes for as long as the block runs."""

    def follow(done: threading.Event) -> None:
        known: set[str] | None = None
        while not done.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                found = _alive_nodes()
                if known is not None and found != known:
                    recount_nodes()
                known = found
            except RayError as error:  # told of at the next look, or by Ray's own count
                _log.warning("event=nodes_not_counted error=%s", error)

    with beside(follow, name="nodes"):
        yield


def _alive_nodes() -> set[str]:
    return {str(node["NodeID"]) for node in ray.nodes() if node["Alive"]}
