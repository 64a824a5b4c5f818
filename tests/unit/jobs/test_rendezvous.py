import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayActorError
from ray.train._internal.utils import Singleton
from ray.train.torch.config import TorchConfig, _TorchBackend

from phiray.jobs.rendezvous import FileTorchConfig


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps one backend of each kind in a process."""
    monkeypatch.setattr(Singleton, "_instances", {})


class Workers:
    """Stands in for Ray's group of workers: keeps what each was to do."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, dict[str, object]]] = []

    def __len__(self) -> int:
        return 2

    def execute(self, function: Callable[[], None]) -> None:
        assert function.__name__ == "_set_torch_distributed_env_vars"

    def execute_single_async(
        self, rank: int, function: Callable[[], None], **told: object
    ) -> tuple[int, dict[str, object]]:
        assert function.__name__ == "_setup_torch_process_group"
        self.asked.append((rank, told))
        return rank, told


def test_workers_meet_in_a_file_of_their_own_which_goes_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "get", lambda futures: futures)
    monkeypatch.setattr(_TorchBackend, "on_shutdown", lambda *_: None)
    config, workers = FileTorchConfig(backend="gloo", timeout_s=7), Workers()
    backend = config.backend_cls()
    backend.on_start(workers, config)
    (first, told), (second, same) = workers.asked
    assert (first, second) == (0, 1)
    assert told["init_method"] == same["init_method"]
    assert (told["backend"], told["world_size"], told["timeout_s"]) == ("gloo", 2, 7)
    folder = Path(str(told["init_method"]).removeprefix("file://")).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    backend.on_shutdown(workers, config)
    assert not folder.exists()


def test_a_lost_worker_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def lose(*_: object) -> None:
        raise RayActorError

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(ray, "get", lambda futures: futures)
    monkeypatch.setattr(_TorchBackend, "on_shutdown", lose)
    config, workers = FileTorchConfig(backend="gloo", timeout_s=7), Workers()
    backend = config.backend_cls()
    backend.on_start(workers, config)
    assert list(tmp_path.iterdir()) != []
    with pytest.raises(RayActorError, match="actor experienced"):
        backend.on_shutdown(workers, config)
    assert list(tmp_path.iterdir()) == []


def test_workers_that_never_met_leave_nothing_to_take_down(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[object] = []
    monkeypatch.setattr(_TorchBackend, "on_shutdown", lambda *told: ended.append(told))
    config = FileTorchConfig(backend="gloo")
    config.backend_cls().on_shutdown(Workers(), config)
    assert len(ended) == 1


def test_ray_takes_it_as_settings_of_torch() -> None:
    assert isinstance(FileTorchConfig(backend="gloo"), TorchConfig)
