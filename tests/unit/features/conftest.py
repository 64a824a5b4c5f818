import pytest

from phiray.models.clip import ClipTower
from tests.feature_builders import build_tower


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> ClipTower:
    return build_tower(tmp_path_factory.mktemp("clip"))
