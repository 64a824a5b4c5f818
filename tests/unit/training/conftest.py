"""One start of four processes for all tests that need them."""

import json
from pathlib import Path

import pytest

from tests.unit.training.four_processes import WORLD, Report, run_four


@pytest.fixture(scope="session")
def four_reports(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    """The report of each of four workers."""
    folder: Path = tmp_path_factory.mktemp("four")
    run_four(folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]
