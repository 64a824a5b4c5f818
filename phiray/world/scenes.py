"""What a picture shows: one to three things with shape, colour, size and place.

Limits: within a scene no two things share a shape, a colour or a place, so that each of them names
one thing; colours and shapes are chosen to be told apart at 64 pixels.
"""

import random
from dataclasses import dataclass

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "green", "blue", "yellow", "purple", "brown", "pink", "black")
SIZES = ("large", "small")
PLACES = ("top", "left", "right", "bottom")
"""In reading order; a scene lists its things in this order. One word each, so that a place is one
token: a small language model finds what follows one token far sooner than what follows two."""

NUM_RESERVED = 12
RESERVED_FRACTION = 0.3
"""Share of held-out scenes that show a reserved combination."""
THING_COUNT_WEIGHTS = (4, 4, 2)
"""How often a scene has one thing, two, or three, which is the most."""

Combination = tuple[str, str, str]
"""Shape, colour, place."""


@dataclass(frozen=True)
class Thing:
    """One coloured shape."""

    shape: str
    colour: str
    size: str
    place: str

    @property
    def combination(self) -> Combination:
        """Return what may be reserved for the held-out part."""
        return self.shape, self.colour, self.place


@dataclass(frozen=True)
class Scene:
    """The things of one picture, in reading order."""

    things: tuple[Thing, ...]


def reserved_combinations(seed: int) -> frozenset[Combination]:
    """Choose the combinations that only held-out pictures may show."""
    every = [(shape, colour, place) for shape in SHAPES for colour in COLOURS for place in PLACES]
    return frozenset(random.Random(f"{seed}:reserved").sample(every, NUM_RESERVED))


def draw_scene(rng: random.Random, reserved: frozenset[Combination]) -> Scene:
    """Draw a scene without any reserved combination."""
    while True:
        scene = _draw_any(rng)
        if reserved.isdisjoint(thing.combination for thing in scene.things):
            return scene


def draw_heldout_scene(rng: random.Random, reserved: frozenset[Combination]) -> Scene:
    """Draw a scene that may, and in a set share of cases does, show a reserved combination."""
    if rng.random() >= RESERVED_FRACTION:
        return draw_scene(rng, reserved)
    shape, colour, place = rng.choice(sorted(reserved))
    others = [
        thing
        for thing in draw_scene(rng, reserved).things
        if thing.shape != shape and thing.colour != colour and thing.place != place
    ]
    chosen = Thing(shape=shape, colour=colour, size=rng.choice(SIZES), place=place)
    return Scene(in_reading_order([chosen, *others][: len(THING_COUNT_WEIGHTS)]))


def in_reading_order(things: list[Thing]) -> tuple[Thing, ...]:
    """Sort by place: top, left, right, bottom."""
    return tuple(sorted(things, key=lambda thing: PLACES.index(thing.place)))


def _draw_any(rng: random.Random) -> Scene:
    (count,) = rng.choices(range(1, len(THING_COUNT_WEIGHTS) + 1), THING_COUNT_WEIGHTS)
    shapes, colours = rng.sample(SHAPES, count), rng.sample(COLOURS, count)
    places = rng.sample(PLACES, count)
    things = [
        Thing(shape=shape, colour=colour, size=rng.choice(SIZES), place=place)
        for shape, colour, place in zip(shapes, colours, places, strict=True)
    ]
    return Scene(in_reading_order(things))
