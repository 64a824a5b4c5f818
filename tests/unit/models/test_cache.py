import pytest
import torch

from phiray.errors import ShapeError
from phiray.models.cache import FIRST_CAPACITY, KeyValueCache, cached_causal_mask


def test_append_returns_all_positions_in_order_across_growth() -> None:
    cache = KeyValueCache()
    keys = torch.randn(2, 3, 2 * FIRST_CAPACITY + 5, 4)
    values = torch.randn_like(keys)
    for start in range(0, keys.shape[2], 50):
        seen_keys, seen_values = cache.append(
            0, keys=keys[:, :, start : start + 50], values=values[:, :, start : start + 50]
        )
    torch.testing.assert_close(seen_keys, keys, rtol=0, atol=0)
    torch.testing.assert_close(seen_values, values, rtol=0, atol=0)


def test_length_counts_a_position_once_all_layers_have_it() -> None:
    cache = KeyValueCache()
    state = torch.zeros(1, 1, 3, 2)
    assert cache.length == 0
    cache.append(0, keys=state, values=state)
    cache.append(1, keys=state, values=state)
    cache.append(0, keys=state[:, :, :1], values=state[:, :, :1])
    assert cache.length == 3
    cache.append(1, keys=state[:, :, :1], values=state[:, :, :1])
    assert cache.length == 4


def test_append_refuses_gradients() -> None:
    state = torch.zeros(1, 1, 3, 2, requires_grad=True)
    with pytest.raises(ShapeError, match=r"torch\.no_grad"):
        KeyValueCache().append(0, keys=state, values=state)


def test_append_refuses_another_batch_size() -> None:
    cache = KeyValueCache()
    cache.append(0, keys=torch.zeros(2, 1, 1, 2), values=torch.zeros(2, 1, 1, 2))
    with pytest.raises(ShapeError, match="holds 2 rows, but 3 came"):
        cache.append(0, keys=torch.zeros(3, 1, 1, 2), values=torch.zeros(3, 1, 1, 2))


def test_mask_shows_each_new_position_itself_and_all_before() -> None:
    mask = cached_causal_mask(2, 4, device=torch.device("cpu"))
    assert mask.tolist() == [[True, True, True, False], [True, True, True, True]]
