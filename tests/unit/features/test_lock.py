import fcntl
import threading
import time
from pathlib import Path

import pytest

from phiray.features.lock import locked


def test_a_second_one_waits_and_says_so(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    order: list[str] = []

    def wait() -> None:
        with locked(tmp_path / "lock", progress=lambda *step: told.append(step)) as is_held:
            assert is_held
            order.append("second")

    with locked(tmp_path / "lock", progress=None) as is_held:
        assert is_held
        thread = threading.Thread(target=wait)
        thread.start()
        while not told:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert told[0][1:] == (0, 1)
    assert told[-1][1:] == (1, 1)


def test_storage_without_locks_is_used_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "lock", progress=None) as is_held:
        assert not is_held
