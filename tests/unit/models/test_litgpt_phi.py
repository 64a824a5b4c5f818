import pytest
import torch

from phiray.errors import ConfigError, ShapeError
from phiray.models.build import build_language_model
from tests.model_builders import all_logits, phi_config, random_ids


def test_cache_is_refused_with_a_way_out() -> None:
    model = build_language_model(phi_config(), kind="litgpt", seed=0)
    with pytest.raises(ConfigError, match="phi_from_litgpt"):
        model.new_cache()


def test_row_longer_than_the_positions_is_refused() -> None:
    model = build_language_model(phi_config(), kind="litgpt", seed=0)
    with pytest.raises(ShapeError, match="65 tokens long"):
        all_logits(model, random_ids(1, 65))


def test_rows_end_to_end_are_refused_with_a_way_out() -> None:
    model = build_language_model(phi_config(), kind="litgpt", seed=0)
    index = torch.arange(8)[None]
    with pytest.raises(ConfigError, match=r"data\.packing is true.* set data\.packing to false"):
        model.decode(model.embed(random_ids(1, 8)), packed_index=index)


def test_every_parameter_has_a_gradient() -> None:
    model = build_language_model(phi_config(), kind="litgpt", seed=0)
    torch.autograd.backward(all_logits(model, random_ids(1, 3)).sum())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
