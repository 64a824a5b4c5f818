"""Hear from Ray Train that a node of the run is being taken away, and say which.

Source: `ray.train.get_preemption_info`; a spot provider or `ray drain-node` drains the node.
Limits: Ray looks at its nodes every few seconds. A node that goes without notice, or before the
time that its notice names, is a lost worker to Ray.
"""

import time

import ray.train
from ray.train import PreemptionInfo

from phiray.training.notices import Notice

_SHOWN_ID = 8
"""Characters of a node's id; the dashboard shows the whole."""


def ask_preemption() -> Notice | None:
    """Ask Ray, together with all workers, which nodes are being taken away; None if none is."""
    info = ray.train.get_preemption_info()
    return None if info is None else notice_from_preemption(info)


def notice_from_preemption(info: PreemptionInfo) -> Notice:
    """Name the nodes, their workers and, where it is known, the time (UTC) at which they go."""
    nodes = "; ".join(
        f"node {node[:_SHOWN_ID]} (worker {', '.join(map(str, sorted(ranks)))})"
        for node, ranks in sorted(info.preempted_node_to_ranks.items())
    )
    if info.deadline_ms is None:
        return Notice(nodes, None)
    deadline = info.deadline_ms / 1000
    return Notice(f"{nodes}, at {time.strftime('%H:%M:%S', time.gmtime(deadline))} UTC", deadline)
