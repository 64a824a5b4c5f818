import random

import pytest

from phiray.world.prose import TAKING_STOCK, chart, fact, question, saying
from phiray.world.scenes import Scene, Thing

RED = Thing(shape="circle", colour="red", size="large", place="top")
BLUE = Thing(shape="star", colour="blue", size="small", place="bottom")
SCENE = Scene((RED, BLUE))


@pytest.mark.parametrize("form", [*TAKING_STOCK, saying])
def test_forms_name_every_attribute_of_every_thing(form: object) -> None:
    assert callable(form)
    for seed in range(20):
        text = form(SCENE, random.Random(seed))
        for thing in SCENE.things:
            for word in (thing.shape, thing.colour, thing.place):
                assert word in text


def test_chart_says_nothing_of_empty_places() -> None:
    text = chart(SCENE, random.Random(0))

    assert text.count("nothing") == 2
    assert text.startswith("top red circle")


def test_facts_and_answers_are_of_the_scene() -> None:
    for seed in range(50):
        rng = random.Random(seed)
        assert not {"square", "green", "bottom"} & set(fact(RED, rng).split())
        asked, answer = question(SCENE, rng)
        if answer == "yes":
            assert ("red" in asked) == ("circle" in asked)
        elif answer == "no":
            assert ("red" in asked, "blue" in asked) != ("circle" in asked, "star" in asked)
