import math

import pytest
import torch

from phiray.config.model import PhiConfig
from phiray.errors import ShapeError
from phiray.models.rotary import Rotary, rotate


def _config() -> PhiConfig:
    return PhiConfig(
        vocab_size=8,
        hidden_size=6,
        num_attention_heads=1,
        num_hidden_layers=1,
        intermediate_size=8,
        max_position_embeddings=8,
        partial_rotary_factor=0.7,  # 4 of 6 channels
    )


def test_rotate_turns_pairs_by_hand_worked_angles() -> None:
    rotary = Rotary(_config())
    states = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).view(1, 1, 1, 6)
    turned = rotate(states, rotary(3, 1)).flatten().tolist()
    fast, slow = 3.0, 3.0 / math.sqrt(10_000.0)  # channels (0, 2) and (1, 3) at position 3
    assert turned == pytest.approx(
        [
            1 * math.cos(fast) - 3 * math.sin(fast),
            2 * math.cos(slow) - 4 * math.sin(slow),
            3 * math.cos(fast) + 1 * math.sin(fast),
            4 * math.cos(slow) + 2 * math.sin(slow),
            5.0,
            6.0,
        ],
        abs=1e-6,
    )


def test_scores_depend_on_the_distance_of_positions_only() -> None:
    rotary = Rotary(_config())
    query, key = torch.randn(1, 1, 1, 6), torch.randn(1, 1, 1, 6)
    near = (rotate(query, rotary(2, 1)) * rotate(key, rotary(0, 1))).sum()
    far = (rotate(query, rotary(7, 1)) * rotate(key, rotary(5, 1))).sum()
    torch.testing.assert_close(near, far, rtol=1e-5, atol=1e-5)


def test_rotary_refuses_positions_beyond_the_last() -> None:
    with pytest.raises(ShapeError, match=r"9 tokens long, but model\.max_position_embeddings is 8"):
        Rotary(_config())(5, 4)


def test_angles_are_no_part_of_the_state_dict() -> None:
    assert not Rotary(_config()).state_dict()
