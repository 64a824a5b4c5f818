import subprocess
import sys

import pytest
import torch

from phiray.config.model import ModelDescription
from phiray.models.build import LanguageModelKind, build_from_state, build_language_model
from tests.model_builders import all_logits, assert_near, moe_config, phi_config, random_ids


def test_weights_are_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = build_language_model(phi_config(), kind="phi", seed=7).state_dict()
    torch.manual_seed(2)
    second = build_language_model(phi_config(), kind="phi", seed=7).state_dict()
    other = build_language_model(phi_config(), kind="phi", seed=8).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    name = "model.layers.0.mlp.fc1.weight"
    assert not torch.equal(first[name], other[name])


def test_both_kinds_start_as_the_same_function() -> None:
    ids = random_ids(2, 9)
    ours = build_language_model(phi_config(), kind="phi", seed=7)
    lit = build_language_model(phi_config(), kind="litgpt", seed=7)
    assert_near(all_logits(lit, ids), all_logits(ours, ids))


def test_experts_start_without_an_effect() -> None:
    ids = random_ids(2, 9)
    dense = build_language_model(phi_config(), kind="phi", seed=7)
    sparse = build_language_model(phi_config(moe_config()), kind="phi", seed=7)
    torch.testing.assert_close(all_logits(sparse, ids), all_logits(dense, ids), rtol=0, atol=0)


def test_litgpt_and_open_clip_are_imported_for_their_own_kinds_only() -> None:
    code = "import sys, phiray.stages.restore; print({'litgpt', 'open_clip'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout == "set()\n"


@pytest.mark.parametrize("kind", ["phi", "litgpt"])
def test_described_language_model_has_the_given_weights(kind: LanguageModelKind) -> None:
    config = phi_config()
    model = build_language_model(config, kind=kind, seed=7)
    description = ModelDescription(kind=kind, language_model=config)
    again = build_from_state(description, model.state_dict())
    ids = random_ids(2, 9)
    assert type(again) is type(model)
    torch.testing.assert_close(all_logits(again, ids), all_logits(model, ids), rtol=0, atol=0)
