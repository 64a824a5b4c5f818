"""What the tests of fetching share."""

from collections.abc import Iterator

import huggingface_hub
import pytest
from huggingface_hub.utils._http import default_client_factory

from tests.fetch_server import FaultyServer, faulty_server


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_server() as running:
        yield running


@pytest.fixture
def free_hub() -> Iterator[None]:
    """Give huggingface_hub its own client back."""
    yield
    huggingface_hub.set_client_factory(default_client_factory)
