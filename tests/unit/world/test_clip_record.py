"""A record is believed of the tower that it was written for, and of no other."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from phiray.config.data import SplitConfig
from phiray.world.clip_record import (
    RECORD_NAME,
    ClipRecord,
    find_record,
    hash_tower,
    write_record,
)


def tower() -> dict[str, Tensor]:
    return {"visual.a": torch.arange(6.0).reshape(2, 3), "visual.b": torch.tensor(2.0)}


@pytest.fixture
def record() -> ClipRecord:
    return ClipRecord(
        num_images=3, split=SplitConfig(), seed=1, steps=2, tower_sha256=hash_tower(tower())
    )


def test_find_record_takes_the_folder_or_a_file_in_it(tmp_path: Path, record: ClipRecord) -> None:
    write_record(tmp_path, record)
    weights = tmp_path / "open_clip_model.safetensors"
    weights.write_bytes(b"")
    assert find_record(str(tmp_path), tower()) == record
    assert find_record(str(weights), tower()) == record


def test_find_record_believes_nothing_of_another_tower(tmp_path: Path, record: ClipRecord) -> None:
    write_record(tmp_path, record)
    assert find_record(str(tmp_path), {**tower(), "visual.b": torch.tensor(3.0)}) is None


def test_find_record_knows_nothing_without_a_whole_record(tmp_path: Path) -> None:
    assert find_record(str(tmp_path / "gone"), tower()) is None
    assert find_record("openai", tower()) is None
    (tmp_path / RECORD_NAME).write_text('{"seed": 1}')
    assert find_record(str(tmp_path), tower()) is None


def test_hash_tower_sees_names_shapes_types_and_values_but_nothing_beside_the_tower() -> None:
    whole = hash_tower(tower())
    assert hash_tower({**tower(), "text.a": torch.zeros(2)}) == whole
    changes = [
        {"visual.a": torch.arange(6.0).reshape(3, 2)},
        {"visual.a": torch.arange(6.0).reshape(2, 3).bfloat16()},
        {"visual.c": torch.zeros(1)},
        {"visual.b": torch.tensor(2.5)},
    ]
    assert len({hash_tower({**tower(), **change}) for change in changes} | {whole}) == 5
