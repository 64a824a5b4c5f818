import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from phiray.errors import DataError
from phiray.features import compute
from phiray.features.compute import Picture, compute_features
from phiray.models.clip import ClipTower
from tests.feature_builders import CPU, rounded, write_pictures


def pictures(paths: list[Path]) -> list[Picture]:
    return [Picture(hashlib.sha256(path.read_bytes()).hexdigest(), path) for path in paths]


def test_features_are_the_towers_rounded_to_bf16(
    tmp_path: Path, tower: ClipTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "BATCH", 3)
    paths = write_pictures(tmp_path, 7)
    batches = list(compute_features(tower, pictures(paths), device=CPU))
    assert [len(batch.rows) for batch in batches] == [3, 3, 1]
    found = torch.from_numpy(np.concatenate([b.rows for b in batches])).view(torch.bfloat16)
    wanted = torch.stack([rounded(tower, path.read_bytes()) for path in paths])
    torch.testing.assert_close(found, wanted, rtol=2**-7, atol=0)  # one bit of a bf16


def test_a_broken_picture_keeps_its_row(tmp_path: Path, tower: ClipTower) -> None:
    paths = write_pictures(tmp_path, 4)
    paths[1].write_bytes(b"no picture")
    paths[2].write_bytes(b"")
    (batch,) = compute_features(tower, pictures(paths), device=CPU)
    assert {row: found.reason for row, found in batch.broken.items()} == {
        1: "not an image",
        2: "empty",
    }
    assert not batch.rows[1:3].any()
    assert batch.rows[[0, 3]].any(axis=(1, 2)).all()


def test_a_batch_of_broken_pictures_needs_no_tower(tmp_path: Path, tower: ClipTower) -> None:
    (paths := write_pictures(tmp_path, 1))[0].write_bytes(b"no picture")
    (batch,) = compute_features(tower, pictures(paths), device=CPU)
    assert list(batch.broken) == [0]


def test_a_picture_that_changed_meanwhile_is_refused(tmp_path: Path, tower: ClipTower) -> None:
    paths = write_pictures(tmp_path, 2)
    known = pictures(paths)
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(DataError, match="was changed while features were computed"):
        list(compute_features(tower, known, device=CPU))
    paths[1].unlink()
    with pytest.raises(DataError, match="cannot be read any more: No such file"):
        list(compute_features(tower, known, device=CPU))
