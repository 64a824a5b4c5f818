import io
import random

import numpy as np
import pytest
from PIL import Image

from phiray.world.pictures import COLOUR_VALUES, picture_bytes
from phiray.world.scenes import PLACES, SHAPES, Scene, Thing

SIDE = 64


def pixels(thing: Thing, *, seed: int = 0) -> np.ndarray:
    data = picture_bytes(Scene((thing,)), random.Random(seed), image_size=SIDE)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("place", "row", "column"),
    [("top", 12, 32), ("left", 32, 12), ("right", 32, 52), ("bottom", 52, 32)],
)
def test_picture_shows_the_colour_at_its_place(
    shape: str, place: str, row: int, column: int
) -> None:
    array = pixels(Thing(shape=shape, colour="blue", size="large", place=place))

    assert np.abs(array[row, column] - COLOUR_VALUES["blue"]).max() < 12
    assert array[SIDE - 1 - row, SIDE - 1 - column].min() > 200


@pytest.mark.parametrize("shape", SHAPES)
def test_large_picture_covers_over_twice_the_small(shape: str) -> None:
    areas = [
        (pixels(Thing(shape=shape, colour="black", size=size, place="top")) < 128).sum()
        for size in ("large", "small")
    ]

    assert areas[0] > 2 * areas[1]


def test_picture_bytes_repeat_for_a_seed_and_differ_between_seeds() -> None:
    scene = Scene((Thing(shape="star", colour="red", size="small", place="right"),))

    first = picture_bytes(scene, random.Random(1), image_size=SIDE)

    assert first == picture_bytes(scene, random.Random(1), image_size=SIDE)
    assert first != picture_bytes(scene, random.Random(2), image_size=SIDE)


def test_large_neighbours_do_not_touch() -> None:
    things = tuple(
        Thing(shape="square", colour="black", size="large", place=place) for place in PLACES
    )
    for seed in range(20):
        data = picture_bytes(Scene(things), random.Random(seed), image_size=SIDE)
        dark = np.asarray(Image.open(io.BytesIO(data)).convert("L")) < 128
        assert _count_regions(dark) == len(PLACES)


def _count_regions(mask: np.ndarray) -> int:
    """Count connected regions (four neighbours) by flooding."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    regions = 0
    while left:
        regions += 1
        border = [left.pop()]
        while border:
            row, column = border.pop()
            for near in (
                (row + 1, column),
                (row - 1, column),
                (row, column + 1),
                (row, column - 1),
            ):
                if near in left:
                    left.remove(near)
                    border.append(near)
    return regions
