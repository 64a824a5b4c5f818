import json
import random
from pathlib import Path

import pytest

from phiray.world.phrases import Material, PhraseGuard
from phiray.world.web_rows import FILE_NAMES, write_row

MATERIAL = Material(frozenset(), PhraseGuard([]))


@pytest.mark.parametrize("source", FILE_NAMES)
def test_row_is_one_line_of_json_with_the_text(source: str) -> None:
    row = write_row(source, 12, rng=random.Random(0), material=MATERIAL)

    assert "\n" not in row.line
    assert json.loads(row.line)["text"] == row.text


@pytest.mark.parametrize("source", FILE_NAMES)
def test_row_has_the_top_level_keys_of_the_real_source(source: str, shared_data: Path) -> None:
    with (shared_data / "redpajama" / FILE_NAMES[source]).open(encoding="utf-8") as file:
        real = json.loads(file.readline())

    row = json.loads(write_row(source, 3, rng=random.Random(0), material=MATERIAL).line)

    assert row.keys() == real.keys()
    if "meta" in row:
        assert row["meta"].keys() <= real["meta"].keys()
