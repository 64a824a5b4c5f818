import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import pytest
import ray

from phiray.config.load import load_config
from phiray.data.rows import RowSource
from phiray.errors import ConfigError, ExitCode
from phiray.jobs.cluster import shared_storage
from phiray.jobs.cluster.shared_storage import (
    RAY_FOLDER,
    check_rows,
    find_path,
    node_name,
    refuse_unshared,
)
from phiray.jobs.payload import WorkerPayload
from phiray.training.collective import Collective

Value = TypeVar("Value")
NODE = "nodename (10.0.0.7)"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be another node than the driver's."""
    monkeypatch.setattr(shared_storage, "node_id", lambda: "there")
    monkeypatch.setattr(shared_storage, "node_name", lambda: NODE)
    monkeypatch.setattr(shared_storage, "PATIENCE_SECONDS", 0.0)


def told(tmp_path: Path, *changes: str, start: str = "first") -> WorkerPayload:
    places = [
        f"data.root={tmp_path / 'data'}",
        f"language_model={tmp_path / 'language'}",
        f"vision.weights={tmp_path / 'clip.safetensors'}",
    ]
    config = load_config("tiny", "align", overrides=[*places, *changes])
    return {
        "config": config.model_dump(mode="json"),
        "run_dir": str(tmp_path / "run"),
        "manifest": "{}",
        "rows": "a+b",
        "features": None,
        "start": start,
        "node": "here",
    }


def begin(tmp_path: Path, *, data: bool = True) -> None:
    """Make what the driver's node has."""
    (tmp_path / "run" / RAY_FOLDER / "first").mkdir(parents=True)
    (tmp_path / "language").mkdir()
    (tmp_path / "clip.safetensors").touch()
    if data:
        (tmp_path / "data").mkdir()


def message(payload: WorkerPayload) -> str:
    outcome = refuse_unshared(payload, Collective())
    assert outcome is not None
    error = cast(dict[str, object], outcome["error"])
    assert error["exit_code"] == ExitCode.BAD_CONFIG
    return str(error["message"])


def test_a_node_that_sees_the_same_folders_trains(tmp_path: Path) -> None:
    begin(tmp_path)
    assert refuse_unshared(told(tmp_path), Collective()) is None


def test_a_node_without_the_runs_folder_is_named_with_path_and_mend(tmp_path: Path) -> None:
    text = message(told(tmp_path))
    assert text.startswith(f"run.output_dir: {tmp_path / 'run'} is missing on node {NODE}.")
    assert "Mount shared storage at that path on every node, or set run.output_dir to" in text


def test_a_folder_of_that_name_from_another_start_is_another_folder(tmp_path: Path) -> None:
    begin(tmp_path)
    assert "is another folder on node" in message(told(tmp_path, start="second"))


def test_a_node_without_the_data_is_refused(tmp_path: Path) -> None:
    begin(tmp_path, data=False)
    assert message(told(tmp_path)).startswith(f"data.root: {tmp_path / 'data'} is missing on node")


def test_a_node_without_a_model_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "clip.safetensors").unlink()
    place = tmp_path / "clip.safetensors"
    assert message(told(tmp_path)).startswith(f"vision.weights: {place} is missing on node {NODE}.")


def test_a_node_without_a_folder_beside_the_data_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    text = message(told(tmp_path, f"data.images={tmp_path / 'images'}"))
    assert text.startswith(f"data.images: {tmp_path / 'images'} is missing on node {NODE}.")


def test_data_at_a_url_is_looked_for_there(tmp_path: Path) -> None:
    begin(tmp_path)
    payload = told(tmp_path, f"data.root=file://{tmp_path / 'data'}")
    assert refuse_unshared(payload, Collective()) is None
    (tmp_path / "data").rmdir()
    assert message(payload).startswith(f"data.root: file://{tmp_path / 'data'} is missing on node")


def test_a_node_that_cannot_open_the_url_tells_it_to_all_workers(tmp_path: Path) -> None:
    """Raised before the others are told, it would leave them waiting."""
    begin(tmp_path)
    outcome = refuse_unshared(told(tmp_path, "data.root=nosuch://bucket/data"), Collective())
    assert outcome is not None
    error = cast(dict[str, object], outcome["error"])
    assert error["exit_code"] == ExitCode.MISSING_INPUT
    start = f"On node {NODE}: nosuch://bucket/data cannot be read"
    assert str(error["message"]).startswith(start)


def test_all_workers_return_what_one_of_them_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None raises, so none is lost and Ray starts none anew."""
    begin(tmp_path)
    met: dict[str, object] = {"message": "not there", "exit_code": 78}

    class Two(Collective):
        def gather(self, value: Value) -> list[Value]:
            return [value, cast(Value, met)]

    assert refuse_unshared(told(tmp_path), Two()) == {"error": met}


def test_the_drivers_own_node_is_not_asked(tmp_path: Path) -> None:
    payload: WorkerPayload = {**told(tmp_path), "node": "there"}
    assert refuse_unshared(payload, Collective()) is None
    check_rows(payload, [])


class Rows:
    """Rows of which no more than the hash is asked."""

    def __init__(self, quick_fingerprint: str) -> None:
        self.quick_fingerprint = quick_fingerprint


def test_rows_of_other_data_at_the_same_path_are_refused(tmp_path: Path) -> None:
    right, wrong = ([cast(RowSource, Rows(name)) for name in names] for names in ("ab", "ac"))
    check_rows(told(tmp_path), right)
    said = (
        r"^data\.root: .*data on node nodename .* holds other data .*there, or files were changed"
    )
    with pytest.raises(ConfigError, match=said):
        check_rows(told(tmp_path), [*wrong, None])


def test_a_folder_that_a_network_shows_late_is_waited_for(tmp_path: Path) -> None:
    make: Callable[[], None] = (tmp_path / "late").mkdir
    threading.Timer(0.1, make).start()
    assert find_path(tmp_path / "late", patience_seconds=30)
    assert not find_path(tmp_path / "never", patience_seconds=0)


def test_a_node_is_named_so_that_a_person_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "nodename")
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    assert node_name() == NODE
