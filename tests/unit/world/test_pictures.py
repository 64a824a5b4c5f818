import io
import random

import numpy as np
import pytest
from PIL import Image

from phiray.world.pictures import COLOUR_VALUES, picture_bytes
from phiray.world.scenes import SHAPES, Scene, Thing

SIDE = 64


def pixels(thing: Thing, *, seed: int = 0) -> np.ndarray:
    data = picture_bytes(Scene((thing,)), random.Random(seed), image_size=SIDE)
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("place", "row", "column"), [("top left", 16, 16), ("bottom right", 48, 48)]
)
def test_picture_shows_the_colour_in_the_middle_of_its_quadrant(
    shape: str, place: str, row: int, column: int
) -> None:
    array = pixels(Thing(shape=shape, colour="blue", size="large", place=place))

    assert np.abs(array[row, column] - COLOUR_VALUES["blue"]).max() < 12
    assert array[SIDE - row, SIDE - column].min() > 200


@pytest.mark.parametrize("shape", SHAPES)
def test_large_picture_covers_over_twice_the_small(shape: str) -> None:
    areas = [
        (pixels(Thing(shape=shape, colour="black", size=size, place="top left")) < 128).sum()
        for size in ("large", "small")
    ]

    assert areas[0] > 2 * areas[1]


def test_picture_bytes_repeat_for_a_seed_and_differ_between_seeds() -> None:
    scene = Scene((Thing(shape="star", colour="red", size="small", place="top right"),))

    first = picture_bytes(scene, random.Random(1), image_size=SIDE)

    assert first == picture_bytes(scene, random.Random(1), image_size=SIDE)
    assert first != picture_bytes(scene, random.Random(2), image_size=SIDE)
