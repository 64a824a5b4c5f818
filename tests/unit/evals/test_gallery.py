"""Which examples are shown does not depend on their order, and pictures come back."""

from pathlib import Path

import numpy as np
from PIL import Image

from phiray.evals.gallery import find_picture, select_ids, write_gallery


def test_select_ids_does_not_depend_on_order_or_repeats() -> None:
    ids = [str(number) for number in range(50)]
    chosen = select_ids(ids, seed=0, size=6)
    assert select_ids([*ids[::-1], *ids], seed=0, size=6) == chosen
    assert select_ids(ids, seed=1, size=6) != chosen
    assert len(set(chosen)) == 6


def test_select_ids_keeps_the_first_when_more_are_asked_for() -> None:
    ids = [str(number) for number in range(50)]
    assert select_ids(ids, seed=0, size=12)[:6] == select_ids(ids, seed=0, size=6)


def test_write_gallery_keeps_small_pictures_and_shrinks_large_ones(tmp_path: Path) -> None:
    large = np.zeros((3, 320, 320), dtype=np.uint8)
    large[0] = 200
    write_gallery(tmp_path, {7: np.zeros((3, 32, 32), dtype=np.uint8), 8: large})
    small_path, large_path = find_picture(tmp_path, "7"), find_picture(tmp_path, "8")
    assert small_path is not None
    assert large_path is not None
    assert find_picture(tmp_path, "9") is None
    with Image.open(small_path) as small, Image.open(large_path) as shrunk:
        assert small.size == (32, 32)
        assert shrunk.size == (160, 160)
        pixel = np.asarray(shrunk)[80, 80]
    assert pixel[0] > 190
    assert pixel[1] < 10
