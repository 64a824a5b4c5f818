"""Fixtures shared by all tests, and how tests are shared among processes (`pytest -n 2`)."""

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

RAY_FOLDER = "tests/ray"
OWN_RAY = ("tests/ray/test_kills.py", "tests/ray/test_search.py")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class FilesAndRay(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Keep each file in one process, and what shares a Ray in one: fixtures there are dear.

    Kills and searches run commands that start a Ray of their own, and mostly wait for it.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return RAY_FOLDER if file.startswith(RAY_FOLDER) and file not in OWN_RAY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesAndRay:
    """Answer xdist's question: who runs what."""
    return FilesAndRay(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real samples of every data set; they are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real samples are not at {SHARED_DATA.name}/ beside the checkout")
    return SHARED_DATA
