"""Ask a run to stop before its next step, through a file in its folder.

Source: Tune kills a stopped trial only after a grace time, in which it would train on; a run that
ends by itself leaves no process and no placement group behind.
Limits: the folder must be seen by driver and workers.
"""

from collections.abc import Iterator
from pathlib import Path

from phiray.batch import StepInput
from phiray.errors import ClusterError, ExitCode

STOP_FILE = "stop"


def request_stop(run_dir: Path) -> None:
    """Let the run end before its next step."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / STOP_FILE).touch()


def is_stop_requested(run_dir: Path) -> bool:
    """Tell whether somebody asked the run to stop."""
    return (run_dir / STOP_FILE).exists()


def until_stopped(steps: Iterator[StepInput], run_dir: Path) -> Iterator[StepInput]:
    """Give the steps for as long as nobody asks to stop.

    Raises:
        ClusterError: 75 once somebody does; the loop then ends on all workers.
    """
    for step in steps:
        if is_stop_requested(run_dir):
            raise ClusterError(
                f"{run_dir.name} was stopped: a file {STOP_FILE} was put into its folder. It was "
                "to go on. Delete the file, and resume the run.",
                exit_code=ExitCode.RESUMABLE,
            )
        yield step
