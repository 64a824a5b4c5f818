"""Sentences about scenes, the grammar that books and web rows share.

A passage first takes stock of a scene in one form (a list, notes, a chart) and then says the same
in other forms, and answers questions on it. A language model that reads such passages learns to
describe what stands before it, which is what soft tokens of a picture ask of it later.

Limits: a few hundred words of English, no tense or number beyond what the forms need.
"""

import random
from collections.abc import Callable

from phiray.world.captions import listing, place_first_phrase
from phiray.world.conversations import NUMBERS
from phiray.world.scenes import COLOURS, PLACES, Scene, Thing

SceneForm = Callable[[Scene, random.Random], str]


def capitalised(text: str) -> str:
    """Raise the first letter."""
    return text[0].upper() + text[1:]


def chart(scene: Scene, rng: random.Random) -> str:
    """Go through all places in reading order, empty ones too."""
    shown = {thing.place: f"{thing.colour} {thing.shape}" for thing in scene.things}
    separator = rng.choice(["; ", ", "])
    return separator.join(f"{place} {shown.get(place, 'nothing')}" for place in PLACES)


def notes(scene: Scene, rng: random.Random) -> str:
    """Note each thing in three words, with the place in front or at the end."""
    forms = ("{0.place} {0.colour} {0.shape}", "{0.colour} {0.shape} {0.place}")
    form = rng.choice(forms)
    return rng.choice(["; ", ", "]).join(form.format(thing) for thing in scene.things)


def plain_list(scene: Scene, rng: random.Random) -> str:
    """List the things as a sentence would, or with places in front."""
    return listing(scene) if rng.random() < 0.5 else listing(scene, place_first_phrase)


TAKING_STOCK: tuple[SceneForm, ...] = (chart, notes, plain_list)
SAYING = (
    "there is {things}.",
    "a picture of {things}.",
    "the picture shows {things}.",
    "we see {places}.",
    "{things}.",
    "here is {things}.",
    "I see {things}.",
)


def stock(scene: Scene, rng: random.Random) -> str:
    """Take stock of the scene in any form, without a full stop."""
    return rng.choice(TAKING_STOCK)(scene, rng)


def saying(scene: Scene, rng: random.Random) -> str:
    """Describe the scene in one full sentence, without a capital."""
    return rng.choice(SAYING).format(
        things=listing(scene), places=listing(scene, place_first_phrase)
    )


def sentence(scene: Scene, rng: random.Random) -> str:
    """Describe the scene in one full sentence."""
    return capitalised(saying(scene, rng))


def fact(thing: Thing, rng: random.Random) -> str:
    """Say one thing about one thing, in the past."""
    return rng.choice(
        [
            f"The {thing.shape} was {thing.colour}.",
            f"The {thing.shape} stood at the {thing.place}.",
            f"At the {thing.place} stood the {thing.colour} {thing.shape}.",
        ]
    )


def question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """Ask about one thing; the answer is one or two words."""
    thing = rng.choice(scene.things)
    other = rng.choice([colour for colour in COLOURS if colour != thing.colour])
    return rng.choice(
        [
            (f"What colour was the {thing.shape}?", thing.colour),
            (f"What was at the {thing.place}?", f"a {thing.shape}"),
            (f"Which shape was {thing.colour}?", f"the {thing.shape}"),
            (f"Where was the {thing.shape}?", thing.place),
            (f"Was the {thing.shape} {thing.colour}?", "yes"),
            (f"Was the {thing.shape} {other}?", "no"),
            ("How many things were there?", NUMBERS[len(scene.things) - 1]),
        ]
    )


def dialogue(scene: Scene, rng: random.Random) -> str:
    """Write questions and answers, line by line."""
    lines = [f"Q: I have this: {stock(scene, rng)}. What is it?", f"A: {sentence(scene, rng)}"]
    for _ in range(rng.randint(0, 2)):
        asked, answer = question(scene, rng)
        lines += [f"Q: {asked}", f"A: {answer}"]
    return "\n".join(lines)


def article(scene: Scene, rng: random.Random) -> str:
    """Take stock, state a fact, then describe the whole."""
    told = fact(rng.choice(scene.things), rng)
    return f"The picture: {stock(scene, rng)}. {sentence(scene, rng)} {told} {sentence(scene, rng)}"


def notice(scene: Scene, rng: random.Random) -> str:
    """Announce something new, in several descriptions."""
    said = " ".join(sentence(scene, rng) for _ in range(rng.randint(1, 3)))
    return f"New today: {stock(scene, rng)}.\n{said}"
