from pathlib import Path

import pytest
import torch

from phiray.errors import ConfigError
from phiray.models.convert import phi_from_litgpt
from phiray.stages.litgpt import prepare
from phiray.stages.scratch import build as build_scratch
from tests.stage_builders import (
    STEPS,
    Trained,
    changed_names,
    litgpt_config,
    phi_config,
    scratch_config,
)


def test_litgpt_trains_every_weight(litgpt: Trained) -> None:
    assert litgpt.result.step == STEPS
    assert changed_names(litgpt) == set(litgpt.before)
    assert litgpt.parts.description.kind == "litgpt"


def test_litgpt_ledger_holds_the_hashes_of_its_documents(litgpt: Trained, world: Path) -> None:
    counts = prepare(litgpt_config(world, litgpt.run_dir.parent)).counts
    assert set(litgpt.parts.ledger) == {"document"}
    assert len(litgpt.parts.ledger["document"]) == counts["documents"]
    assert all(len(str(key)) == 64 for key in litgpt.parts.ledger["document"])


def test_litgpt_starts_from_the_same_weights_as_scratch(
    world: Path, tmp_path: Path, litgpt: Trained
) -> None:
    config = scratch_config(world, tmp_path).model_copy(update={"model": phi_config()})
    from_scratch = build_scratch(config).model.state_dict()
    converted = phi_from_litgpt(litgpt.before)
    assert converted.keys() == from_scratch.keys()
    for name, tensor in converted.items():
        torch.testing.assert_close(tensor, from_scratch[name], rtol=0, atol=0)


def test_prepare_refuses_a_vocabulary_without_room_for_the_image(
    world: Path, tmp_path: Path
) -> None:
    config = litgpt_config(world, tmp_path)
    config = config.model_copy(update={"model": phi_config(vocab_size=300)})
    with pytest.raises(ConfigError, match=r"model\.vocab_size is 300, but the tokenizer needs 302"):
        prepare(config)
