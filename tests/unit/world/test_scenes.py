import random

from phiray.world.scenes import (
    COLOURS,
    NUM_RESERVED,
    PLACES,
    SHAPES,
    THING_COUNT_WEIGHTS,
    draw_heldout_scene,
    draw_scene,
    reserved_combinations,
)


def test_draw_scene_never_shows_a_reserved_combination() -> None:
    reserved = reserved_combinations(3)
    rng = random.Random(0)

    shown = {thing.combination for _ in range(2000) for thing in draw_scene(rng, reserved).things}

    assert not shown & reserved
    assert len(shown) == len(SHAPES) * len(COLOURS) * len(PLACES) - NUM_RESERVED


def test_draw_heldout_scene_shows_every_reserved_combination_at_times() -> None:
    reserved = reserved_combinations(3)
    rng = random.Random(0)

    scenes = [draw_heldout_scene(rng, reserved) for _ in range(1000)]

    shown = {thing.combination for scene in scenes for thing in scene.things}
    with_reserved = [
        scene for scene in scenes if any(thing.combination in reserved for thing in scene.things)
    ]
    assert reserved <= shown
    assert 200 < len(with_reserved) < 400


def test_scenes_name_each_thing_by_shape_colour_and_place_in_reading_order() -> None:
    reserved = reserved_combinations(0)
    rng = random.Random(1)

    for _ in range(2000):
        things = draw_heldout_scene(rng, reserved).things
        assert 1 <= len(things) <= len(THING_COUNT_WEIGHTS)
        for values in zip(*[thing.combination for thing in things], strict=True):
            assert len(set(values)) == len(things)
        assert [PLACES.index(thing.place) for thing in things] == sorted(
            PLACES.index(thing.place) for thing in things
        )


def test_reserved_combinations_depend_on_the_seed_alone() -> None:
    assert reserved_combinations(5) == reserved_combinations(5)
    assert reserved_combinations(5) != reserved_combinations(6)
