"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real samples of every data set; they are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real samples are not at {SHARED_DATA.name}/ beside the checkout")
    return SHARED_DATA
