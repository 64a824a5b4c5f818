import json
from pathlib import Path

import pytest

from phiray.config.load import config_from_yaml, load_config
from phiray.config.model import ModelDescription
from phiray.config.presets import preset
from phiray.config.stages import STAGES, RunConfig
from phiray.errors import DataError
from phiray.stages.parts import (
    checkpoint_texts,
    config_yaml,
    merge_ledgers,
    read_tokenizer,
)
from phiray.text.tokenizer import Tokenizer
from tests.stage_builders import Trained, scratch_config
from tests.text_builders import EOS, write_tokenizer


def test_merge_ledgers_is_the_sorted_union_of_each_kind() -> None:
    merged = merge_ledgers({"image": [9, 3]}, {"book": [101]}, {"image": [3, 1], "document": ["b"]})
    assert merged == {"book": [101], "document": ["b"], "image": [1, 3, 9]}


def test_merge_ledgers_sorts_numbers_before_names() -> None:
    assert merge_ledgers({"book": ["pg", 7]}, {"book": [30]}) == {"book": [7, 30, "pg"]}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ["tiny", "phi-2"])
def test_config_yaml_is_read_back_as_the_same_settings(name: str, stage: str) -> None:
    config = preset(name, stage)
    assert config_from_yaml(config_yaml(config), origin="config.yaml") == config


@pytest.mark.parametrize("name", ["1e5", "0o7", "1.5"])
def test_config_yaml_is_what_the_command_line_reads(name: str, tmp_path: Path) -> None:
    config = preset("tiny", "scratch").model_copy(update={"run": RunConfig(name=name)})
    file = tmp_path / "config.yaml"
    file.write_text(config_yaml(config))
    assert load_config(str(file)) == config


def test_checkpoint_texts_hold_settings_model_ledger_and_tokenizer(
    scratch: Trained, world: Path
) -> None:
    config = scratch_config(world, scratch.run_dir.parent)
    texts = checkpoint_texts(config, scratch.parts)
    assert config_from_yaml(texts["config.yaml"], origin="config.yaml") == config
    assert ModelDescription.model_validate_json(texts["model.json"]) == scratch.parts.description
    assert json.loads(texts["ledger.json"]) == scratch.parts.ledger
    assert Tokenizer(texts["tokenizer.json"]).fingerprint == scratch.parts.tokenizer.fingerprint
    assert json.loads(texts["tokenizer_config.json"]) == {"eos_token": EOS}


def test_read_tokenizer_looks_below_the_root_unless_absolute(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path)
    below = read_tokenizer(str(tmp_path), "tokenizer")
    assert read_tokenizer("elsewhere", str(folder)).fingerprint == below.fingerprint
    with pytest.raises(DataError, match=r"No tokenizer at .*/other"):
        read_tokenizer(str(tmp_path), "other")


def test_read_tokenizer_names_a_root_that_is_not_there() -> None:
    with pytest.raises(
        DataError, match=r"data\.root is elsewhere, which is no folder.*phiray demo"
    ) as caught:
        read_tokenizer("elsewhere", "tokenizer")
    assert int(caught.value.exit_code) == 66
