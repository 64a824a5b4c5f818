"""What a node has, and what it says of itself in its environment, whatever the settings of a run.

Source: nodes of one cluster may keep their own disks in different places (NVMe here, a volume of
Kubernetes there), and a run has one file of settings for all of them.
Limits: read where it is used, in each process of the node; apart from `runtime.py`, since data is
read on machines without Ray, too.
"""

import os
from pathlib import Path

from phiray.errors import ConfigError

NODE_CACHE = "PHIRAY_NODE_CACHE"


def num_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def node_cache_folder(setting: str | None) -> Path | None:
    """Return the folder of this node's cache: its own word, else that of the settings.

    Args:
        setting: `data.node_cache`.

    Returns:
        An absolute path, or None if neither names a folder.

    Raises:
        ConfigError: if the path is relative: each process has a working directory of its own.
    """
    text = os.environ.get(NODE_CACHE) or setting
    if not text:
        return None
    folder = Path(text).expanduser()
    if not folder.is_absolute():
        raise ConfigError(
            f"The cache of this node is {text!r}, which is no absolute path. Each process has a "
            f"working directory of its own. Correct {NODE_CACHE} or data.node_cache."
        )
    return folder
