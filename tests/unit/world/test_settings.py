import pytest
from pydantic import ValidationError

from phiray.world.settings import WorldConfig


def test_world_needs_room_for_the_bytes_in_the_vocabulary() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 300"):
        WorldConfig(vocab_size=256)
