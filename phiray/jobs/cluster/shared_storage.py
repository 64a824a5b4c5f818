"""See that a node has what a run writes and reads: storage that all nodes of a cluster share.

    refuse_unshared(payload, collective) -> what every worker returns, or None
    check_rows(payload, sources)         # once the rows are there

Source: Ray Train looks at its storage at the first checkpoint alone, which may be hours later.
Limits: of models, the folder of images and tokenised shards only the path is looked at; of an
image that is read only the size in bytes is compared, and of a sample of them
(`RowSource.quick_fingerprint`).
"""

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from phiray.config.stages import STAGE_ADAPTER
from phiray.data.rows import RowSource, join_fingerprints
from phiray.errors import ConfigError, PhirayError, payload_from_error
from phiray.jobs.paths import input_paths
from phiray.jobs.payload import WorkerPayload
from phiray.storage import AnyPath, path_of
from phiray.training.collective import Collective

RAY_FOLDER = "ray"
"""In a run's folder: Ray's own record, a folder for each start, made before workers begin."""
PATIENCE_SECONDS = 10.0
"""A network file system may show a node late what another one has made."""
_SECONDS_BETWEEN_LOOKS = 0.5


def refuse_unshared(payload: WorkerPayload, collective: Collective) -> dict[str, object] | None:
    """Return the outcome of a run if some worker's node lacks its folder, data or models.

    All workers call it together and return the same: none is lost, so Ray starts none anew. What a
    node cannot even look for, as it lacks the package for a URL, is its worker's error as well.

    Returns:
        None if all nodes have each path of the driver's.
    """
    error = None if _is_driver_node(payload) else _find_unshared(payload)
    told = collective.gather(None if error is None else payload_from_error(error))
    first = next((item for item in told if item is not None), None)
    return None if first is None else {"error": first}


def check_rows(payload: WorkerPayload, sources: Sequence[RowSource | None]) -> None:
    """Refuse rows that are not the driver's: another folder at the same path, or changed files.

    Args:
        payload: of the worker.
        sources: the rows that this node found, those of the training part first.

    Raises:
        ConfigError: with the node.
    """
    if _is_driver_node(payload):
        return
    found = join_fingerprints(rows.quick_fingerprint for rows in sources if rows is not None)
    if found != payload["rows"]:
        raise ConfigError(
            f"data.root: {_data_root(payload)} on node {node_name()} holds other data than the run "
            "began with: another folder lies at that path there, or files were changed since. It "
            "must be the same until the run ends. Mount the same storage on every node, and put "
            "changed files back."
        )


def find_path(path: AnyPath, *, patience_seconds: float) -> bool:
    """Say whether this node sees a folder or file, or anything at a URL, within so long."""
    deadline = time.monotonic() + patience_seconds
    while not (path.is_dir() or path.is_file()):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def unshared(setting: str, path: str, *, what: str) -> ConfigError:
    """Build the error of a path that this node does not see as the driver does."""
    return ConfigError(
        f"{setting}: {path} {what} on node {node_name()}. It must be the same there as on "
        "the node of the command itself. Mount shared storage at that path on every node, or set "
        f"{setting} to a path on storage that all of them share."
    )


def node_name() -> str:
    """Return this node's name and address."""
    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"


def node_id() -> str:
    """Return Ray's own name of this node."""
    return str(ray.get_runtime_context().get_node_id())


def _is_driver_node(payload: WorkerPayload) -> bool:
    return node_id() == payload["node"]


def _find_unshared(payload: WorkerPayload) -> PhirayError | None:
    try:
        return _look(payload)
    except PhirayError as error:  # raised, it would leave the other workers in their `gather`
        told = f"On node {node_name()}: {error.message}"
        return PhirayError(told, exit_code=error.exit_code)


def _look(payload: WorkerPayload) -> ConfigError | None:
    run_dir = Path(payload["run_dir"])
    start = run_dir / RAY_FOLDER / payload["start"]
    if not find_path(start, patience_seconds=PATIENCE_SECONDS):
        what = "is another folder" if run_dir.is_dir() else "is missing"
        return unshared("run.output_dir", str(run_dir), what=what)
    for setting, path in input_paths(STAGE_ADAPTER.validate_python(payload["config"])).items():
        if not find_path(path_of(path), patience_seconds=PATIENCE_SECONDS):
            return unshared(setting, path, what="is missing")
    return None


def _data_root(payload: WorkerPayload) -> str:
    data = payload["config"]["data"]
    assert isinstance(data, dict), "every stage has settings of its data"
    return str(data["root"])
