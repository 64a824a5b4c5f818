"""Rules for files of Ray's cluster launcher (`ray up`), beside its schema.

Source: facts of Ray 2.60: the schema asks AWS's node types for `resources`, a head with CPUs takes
work, an open dashboard runs anybody's code (CVE-2023-48022), and only a token (2.52+) closes it.
Limits: reads the commands as text; what a script behind them does is not seen.
"""

import re
from collections.abc import Iterator

from phiray.clusters.findings import Finding, finding, keys_of, texts_of, value_of
from phiray.config.yaml_text import Path, YamlTree

NODE_TYPES = "available_node_types"
_STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
_TOKEN_MODE = "RAY_AUTH_MODE=token"
_TOKEN_FILE = "auth_token"
_OPEN_HOST = re.compile(r"--dashboard-host[= ](?!127\.0\.0\.1\b|localhost\b|::1\b)(\S+)")
_LONGEST_IDLE_MINUTES = 60
"""An hour of an idle GPU is what a mistake may cost."""


def check_launcher_rules(tree: YamlTree) -> Iterator[Finding]:
    """Yield what phiray asks of such a file."""
    yield from _check_token(tree)
    yield from _check_dashboard(tree)
    yield from _check_idle(tree)
    if value_of(tree, ("provider", "type")) == "local":
        yield from _check_local_head(tree)
        return
    head = value_of(tree, ("head_node_type",))
    names = keys_of(tree, (NODE_TYPES,))
    if not names:
        yield finding(tree, (NODE_TYPES,), "no node type is declared. Declare a head and workers.")
    elif head not in names:
        yield finding(
            tree, ("head_node_type",), f"{head!r} is none of {', '.join(names)}. Name one of them."
        )
    for name in names:
        yield from _check_node_type(tree, name, is_head=name == head)


def _check_token(tree: YamlTree) -> Iterator[Finding]:
    for key in _STARTS:
        commands = texts_of(tree, (key,))
        starts = [(path, text) for path, text in commands if "ray start" in text]
        if not starts:
            yield finding(tree, (key,), "no command starts Ray. Add one with `ray start`.")
        mode_is_set = False
        for path, text in commands:
            mode_is_set = mode_is_set or (text.startswith("export ") and _TOKEN_MODE in text)
            if (path, text) in starts and _TOKEN_MODE not in text:
                yield finding(
                    tree,
                    path,
                    f"Ray starts without a token: anybody who reaches it runs code. Write "
                    f"`export {_TOKEN_MODE}; ray start ...`.",
                )
    mounted = [name for name in keys_of(tree, ("file_mounts",)) if name.endswith(_TOKEN_FILE)]
    if not mounted:
        yield finding(
            tree,
            ("file_mounts",),
            "no token is brought to the nodes. Add "
            '`"~/.ray/auth_token": "~/.ray/auth_token"` (make it with `ray get-auth-token '
            "--generate`).",
        )


def _check_dashboard(tree: YamlTree) -> Iterator[Finding]:
    for key in _STARTS:
        for path, text in texts_of(tree, (key,)):
            found = _OPEN_HOST.search(text)
            if found:
                yield finding(
                    tree,
                    path,
                    f"the dashboard listens on {found[1]}. It must be 127.0.0.1; `ray dashboard "
                    "FILE` opens a tunnel to it.",
                )


def _check_idle(tree: YamlTree) -> Iterator[Finding]:
    minutes = value_of(tree, ("idle_timeout_minutes",))
    if not isinstance(minutes, int | float):
        yield finding(
            tree,
            ("idle_timeout_minutes",),
            "no idle time-out is declared: say when unused nodes end, e.g. 5.",
        )
    elif not 0 < minutes <= _LONGEST_IDLE_MINUTES:
        yield finding(
            tree,
            ("idle_timeout_minutes",),
            f"{minutes} minutes until an unused node ends. It must be above 0 and at most "
            f"{_LONGEST_IDLE_MINUTES}. Take 5.",
        )


def _check_local_head(tree: YamlTree) -> Iterator[Finding]:
    for path, text in texts_of(tree, (_STARTS[0],)):
        if "ray start" in text and "--num-cpus=0" not in text:
            yield finding(
                tree, path, "the head takes work, and can starve. Add --num-cpus=0 to `ray start`."
            )


def _check_node_type(tree: YamlTree, name: str, *, is_head: bool) -> Iterator[Finding]:
    path: Path = (NODE_TYPES, name)
    resources = value_of(tree, (*path, "resources"))
    if not isinstance(resources, dict) or "CPU" not in resources:
        yield finding(
            tree,
            (*path, "resources"),
            "the node type declares no CPUs, so the autoscaler cannot tell what it would bring. "
            "Add e.g. `resources: {CPU: 8, GPU: 1}`.",
        )
    elif is_head and resources["CPU"] != 0:
        yield finding(
            tree,
            (*path, "resources", "CPU"),
            f"the head has {resources['CPU']} CPUs: work would land on it, and could starve it. "
            "Set 0.",
        )
    if is_head:
        if is_spot(tree, (*path, "node_config")):
            yield finding(
                tree,
                (*path, "node_config"),
                "the head is on spot: with it goes the whole cluster. Take it on demand.",
            )
        return
    if not isinstance(value_of(tree, (*path, "max_workers")), int):
        yield finding(
            tree, (*path, "max_workers"), "no limit of nodes is declared. Add max_workers."
        )
    fewest = value_of(tree, (*path, "min_workers"))
    if is_spot(tree, (*path, "node_config")) and fewest not in (None, 0):
        yield finding(
            tree,
            (*path, "min_workers"),
            f"{fewest} spot nodes are to be there always, which no cloud promises. Set 0, and "
            "let elastic runs (--workers MIN:MAX) take what there is.",
        )


def is_spot(tree: YamlTree, path: Path) -> bool:
    """Say whether a node's config asks AWS or GCP for a machine that may be taken away."""
    market = value_of(tree, (*path, "InstanceMarketOptions", "MarketType"))
    scheduling = value_of(tree, (*path, "scheduling"))
    items = scheduling if isinstance(scheduling, list) else [scheduling]
    return market == "spot" or any(
        isinstance(item, dict)
        and (item.get("preemptible") is True or item.get("provisioningModel") == "SPOT")
        for item in items
    )
