"""Conversations about a scene, in LLaVA's schema.

Source: the rows of LLaVA-Instruct-150K (liuhaotian/LLaVA-Instruct-150K).
Limits: answers are one or two words, or a full description of the scene; nothing in between, so
that no short sentence such as `The circle is red.` is shared with the books.
"""

import random
from collections.abc import Mapping
from typing import TypedDict

from phiray.world.captions import file_name, listing
from phiray.world.scenes import COLOURS, SHAPES, Scene

NUMBERS = ("one", "two", "three")
MAX_TURNS = 3

LlavaTurn = TypedDict("LlavaTurn", {"from": str, "value": str})


class LlavaRow(TypedDict):
    """One conversation."""

    id: str
    image: str
    conversations: list[LlavaTurn]


Turn = tuple[str, str]
"""A question and its answer."""


def conversation(scene: Scene, rng: random.Random) -> list[Turn]:
    """Draw one to three different turns about the scene."""
    makers = [_colour, _shape, _place, _yes_no_colour, _yes_no_shape, _size, _count, _describe]
    weights = [4, 4, 4, 2, 2, 2, 2, 1]
    turns: dict[str, str] = {}
    for maker in rng.choices(makers, weights, k=rng.randint(1, MAX_TURNS)):
        question, answer = maker(scene, rng)
        turns.setdefault(question, answer)
    return list(turns.items())


def llava_rows(turns: Mapping[int, list[Turn]], rng: random.Random) -> list[LlavaRow]:
    """Build LLaVA rows; the image marker stands before or after the first question."""
    return [
        {
            "id": f"{image_id:012d}",
            "image": f"train2017/{file_name(image_id)}",
            "conversations": _utterances(image_turns, marker_first=rng.random() < 0.5),
        }
        for image_id, image_turns in turns.items()
    ]


def _utterances(turns: list[Turn], *, marker_first: bool) -> list[LlavaTurn]:
    utterances: list[LlavaTurn] = []
    for index, (question, answer) in enumerate(turns):
        if index == 0:
            question = f"<image>\n{question}" if marker_first else f"{question}\n<image>"
        utterances.append({"from": "human", "value": question})
        utterances.append({"from": "gpt", "value": answer})
    return utterances


def _colour(scene: Scene, rng: random.Random) -> Turn:
    thing = rng.choice(scene.things)
    return f"What colour is the {thing.shape}?", thing.colour


def _shape(scene: Scene, rng: random.Random) -> Turn:
    thing = rng.choice(scene.things)
    question = rng.choice(
        [f"What shape is {thing.colour}?", f"What shape is at the {thing.place}?"]
    )
    return question, thing.shape


def _place(scene: Scene, rng: random.Random) -> Turn:
    thing = rng.choice(scene.things)
    return f"Where is the {rng.choice([thing.shape, thing.colour + ' ' + thing.shape])}?", (
        thing.place
    )


def _size(scene: Scene, rng: random.Random) -> Turn:
    thing = rng.choice(scene.things)
    return f"Is the {thing.shape} large or small?", thing.size


def _yes_no_colour(scene: Scene, rng: random.Random) -> Turn:
    thing = rng.choice(scene.things)
    if rng.random() < 0.5:
        return f"Is the {thing.shape} {thing.colour}?", "yes"
    other = rng.choice([colour for colour in COLOURS if colour != thing.colour])
    return f"Is the {thing.shape} {other}?", "no"


def _yes_no_shape(scene: Scene, rng: random.Random) -> Turn:
    shown = [thing.shape for thing in scene.things]
    if rng.random() < 0.5:
        return f"Is there a {rng.choice(shown)}?", "yes"
    return f"Is there a {rng.choice([shape for shape in SHAPES if shape not in shown])}?", "no"


def _count(scene: Scene, rng: random.Random) -> Turn:
    question = rng.choice(["How many shapes are there?", "How many things do you see?"])
    return question, NUMBERS[len(scene.things) - 1]


def _describe(scene: Scene, rng: random.Random) -> Turn:
    question = rng.choice(["Describe the picture.", "What do you see?"])
    return question, f"I see {listing(scene)}."
