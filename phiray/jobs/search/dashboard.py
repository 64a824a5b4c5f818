"""Show the curves of a search's trials in TensorBoard, on this machine alone.

Source: each trial writes TensorBoard's files as every run does.
Limits: the loopback, without a password: whoever is logged in here can read it.
"""

from dataclasses import dataclass
from pathlib import Path

from tensorboard import program

from phiray.errors import ClusterError, DataError, ExitCode
from phiray.jobs.search.plan import PLAN_FILE, TRIALS_FOLDER

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Dashboard:
    """A TensorBoard that runs in threads of this process."""

    url: str


def start_dashboard(folder: Path, *, port: int | None) -> Dashboard:
    """Serve the curves of all trials of a search.

    Args:
        folder: of the search.
        port: to listen on; None takes a free one.

    Raises:
        DataError: 66 if the folder holds no search.
        ClusterError: 69 if the port is taken.
    """
    if not (folder / PLAN_FILE).is_file():
        raise DataError(
            f"{folder} holds no search ({PLAN_FILE} is missing). It must be the folder that "
            "`phiray tune projector` or `phiray tune moe` wrote. Correct the path.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    board = program.TensorBoard()
    board.configure(
        argv=[
            "tensorboard",
            "--logdir",
            str(folder / TRIALS_FOLDER),
            "--host",
            LOOPBACK,
            "--port",
            str(port or 0),
            "--reload_interval",
            "5",
            "--load_fast",  # its own data server would be one more process to end
            "false",
        ]
    )
    try:
        url = board.launch()
    except program.TensorBoardServerException as error:
        raise ClusterError(
            f"TensorBoard cannot listen on port {port}: {error.msg.strip()}. It needs a free one. "
            "Leave --port out, and it finds one."
        ) from error
    return Dashboard(url)
