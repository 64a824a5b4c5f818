"""One small world for all tests of this folder."""

from pathlib import Path

import pytest

from tests.stage_builders import write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))
