import torch

from phiray.models.attention import Attention
from phiray.models.cache import KeyValueCache
from phiray.models.rotary import Rotary
from tests.model_builders import assert_near, phi_config, scramble


def test_attention_of_the_first_position_is_its_own_value() -> None:
    config = phi_config()
    attention = Attention(config, 0)
    scramble(attention)
    states = torch.randn(2, 5, config.hidden_size)
    output = attention(states, Rotary(config)(0, 5))
    assert_near(output[:, 0], attention.dense(attention.v_proj(states[:, 0])))


@torch.no_grad()
def test_attention_in_pieces_equals_attention_at_once() -> None:
    config = phi_config()
    attention, rotary = Attention(config, 0), Rotary(config)
    scramble(attention)
    states = torch.randn(2, 9, config.hidden_size)
    whole = attention(states, rotary(0, 9))
    cache, parts = KeyValueCache(), []
    for start, end in ((0, 4), (4, 7), (7, 8), (8, 9)):  # prompt, several, one, one
        angles = rotary(start, end - start)
        parts.append(attention(states[:, start:end], angles, cache=cache))
    assert_near(torch.cat(parts, dim=1), whole)
