"""Let the workers on one machine find one another through a file, where torch would open a port.

Source: torch.distributed's FileStore. Ray's own backend knows only the TCPStore, which listens on
every interface and answers whoever asks.
Limits: one machine; on a cluster, Ray's own `TorchConfig` is what serves. If Ray's controller
is killed, its `phiray-*` stays in the temporary folder. It is not in the run's, which may be a
mount without the file locks that a FileStore needs.
"""

import shutil
import tempfile
from dataclasses import dataclass

import ray
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig
from ray.train.torch.config import (
    _set_torch_distributed_env_vars,
    _setup_torch_process_group,
    _TorchBackend,
)


@dataclass
class FileTorchConfig(TorchConfig):  # type: ignore[misc]  # Ray's class is untyped
    """Ray's settings of a process group, with a file as the meeting point; `backend` is needed."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What Ray's controller sets up and takes down around a group of workers."""
        return _FileBackend


class _FileBackend(_TorchBackend):  # type: ignore[misc]  # Ray's class is untyped
    """Ray's backend, but for how the workers meet."""

    _folder: str | None = None

    def on_start(self, worker_group: BaseWorkerGroup, backend_config: TorchConfig) -> None:
        """Set up the process group, on all workers together."""
        self._folder = tempfile.mkdtemp(prefix="phiray-")  # readable by its owner alone
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _setup_torch_process_group,
                    backend=backend_config.backend,
                    world_rank=rank,
                    world_size=len(worker_group),
                    init_method=f"file://{self._folder}/store",
                    timeout_s=backend_config.timeout_s,
                )
                for rank in range(len(worker_group))
            ]
        )

    def on_shutdown(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        """Take the process group down, and the folder even where a worker is lost."""
        try:
            super().on_shutdown(worker_group, backend_config)
        finally:
            if self._folder is not None:  # else the workers were ended before they met
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
