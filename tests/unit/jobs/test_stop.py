from pathlib import Path

import pytest

from phiray.batch import StepInput
from phiray.errors import ClusterError, ExitCode
from phiray.jobs.stop import is_stop_requested, request_stop, until_stopped


def test_steps_go_on_until_somebody_asks_to_stop(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    steps = [StepInput([], []) for _ in range(3)]
    given = until_stopped(iter(steps), run_dir)
    assert next(given) is steps[0]
    assert not is_stop_requested(run_dir)
    request_stop(run_dir)
    assert is_stop_requested(run_dir)
    with pytest.raises(ClusterError, match="run was stopped") as caught:
        next(given)
    assert caught.value.exit_code == ExitCode.RESUMABLE
