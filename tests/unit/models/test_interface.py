import pytest
from torch import nn

from phiray.models.build import build_language_model
from phiray.models.interface import TokenModel
from tests.model_builders import all_logits, phi_config, random_ids, tiny_vlm


def _token_models() -> list[TokenModel]:
    config = phi_config()
    return [
        build_language_model(config, kind="phi", seed=0),
        build_language_model(config, kind="litgpt", seed=0),
        tiny_vlm(),
    ]


@pytest.mark.parametrize("index", range(3))
def test_every_model_is_a_token_model_and_a_module(index: int) -> None:
    model = _token_models()[index]
    assert isinstance(model, nn.Module)
    assert model.max_position_embeddings == phi_config().max_position_embeddings
    assert all_logits(model, random_ids(2, 5)).shape == (2, 5, phi_config().vocab_size)
