from pathlib import Path

import pytest

from phiray.config.load import change_config, load_search
from phiray.config.presets import PRESETS
from phiray.config.search import SEARCHES
from phiray.config.show import yaml_from_config
from phiray.errors import ConfigError


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", SEARCHES)
def test_every_choice_of_a_preset_can_be_trained(preset: str, kind: str) -> None:
    search = load_search(preset, kind)
    for dimension in search.search.dimensions:
        for value in dimension.values:
            change_config(search.base, [f"{dimension.key}={value}"])


@pytest.mark.parametrize("kind", SEARCHES)
def test_a_preset_measures_itself_several_times_a_trial(kind: str) -> None:
    base = load_search("tiny", kind).base
    assert base.data.split.validation_fraction > 0
    assert base.training.max_steps // base.training.checkpoint_every_steps >= 8


@pytest.mark.parametrize("kind", SEARCHES)
def test_written_settings_read_back(kind: str, tmp_path: Path) -> None:
    search = load_search("tiny", kind)
    (tmp_path / "search.yaml").write_text(yaml_from_config(search))
    assert load_search(str(tmp_path / "search.yaml"), kind) == search


def test_settings_of_the_other_search_are_refused(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text(yaml_from_config(load_search("tiny", "moe")))
    with pytest.raises(ConfigError, match="tune is 'moe', but the search 'projector'"):
        load_search(str(tmp_path / "search.yaml"), "projector")
