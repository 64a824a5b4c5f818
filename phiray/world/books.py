"""Books about scenes, with the headers and footers of Project Gutenberg's files.

Source: the forms of the header lines are those of real files (2004 to 2024).
Limits: the licence is named, not quoted; a few books are in Latin-1, have a byte-order mark or
lines that end in CRLF, and one in a dozen has no header at all, as in the wild.
"""

import random
from dataclasses import dataclass
from functools import partial

from phiray.world.phrases import Material
from phiray.world.prose import (
    article,
    capitalised,
    dialogue,
    fact,
    notice,
    question,
    saying,
    stock,
)
from phiray.world.scenes import Scene

NAMES = ("Ann", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack")
ROOMS = ("kitchen", "garden", "library", "tower", "cellar", "school", "market", "harbour")
SURFACES = ("wall", "door", "page", "card", "window", "box", "map", "table")
TIMES = ("In the morning", "At noon", "In the evening", "At night", "The next day", "Later")
FEELINGS = ("glad", "tired", "curious", "silent", "happy", "afraid")
AUTHORS = ("Mary Field", "John Stone", "Ada Brook", "Paul Zoë", "Rosa Hill", "Karl Wood")

COPIED_FRACTION = 0.25
"""Share of paragraphs that quote a dialogue, an article or a notice."""


@dataclass(frozen=True)
class Book:
    """One book."""

    story: str
    """What is left once header and footer are stripped."""
    data: bytes
    """The file."""


def write_book(number: int, rng: random.Random, *, material: Material, num_paragraphs: int) -> Book:
    """Write one book.

    Args:
        number: Gutenberg number.
        rng: source of all choices.
        material: gives the scenes that the book may tell of.
        num_paragraphs: length of the story.
    """
    name, surface, room = rng.choice(NAMES), rng.choice(SURFACES), rng.choice(ROOMS)
    title = f"{name} and the {capitalised(surface)} in the {capitalised(room)}"
    author = rng.choice(AUTHORS)
    tell = partial(_paragraph, hero=name)
    paragraphs = [material.passage(tell, rng) for _ in range(num_paragraphs)]
    story = "\n\n".join([title.upper(), f"by {author}", *paragraphs])
    text = _framed(story, rng, title=title, author=author, number=number)
    return Book(story=story, data=_encoded(text, rng))


def tell_story(scene: Scene, rng: random.Random, *, hero: str) -> str:
    """Tell of one scene: take stock of it, say it again in other words, ask about it."""
    friend = rng.choice([name for name in NAMES if name != hero])
    surface, room = rng.choice(SURFACES), rng.choice(ROOMS)
    seen = stock(scene, rng)
    sentences = [
        rng.choice(
            [
                f"{rng.choice(TIMES)} {hero} looked at the {surface} in the {room}: {seen}.",
                f"{hero} wrote in the book: {seen}.",
                f"On the {surface} in the {room} was this: {seen}.",
                f"{friend} was {rng.choice(FEELINGS)}, and read from the {surface}: {seen}.",
            ]
        ),
        _speech(capitalised(saying(scene, rng)), rng, name=rng.choice([hero, friend])),
    ]
    for _ in range(rng.randint(1, 2)):
        sentences.append(_aside(scene, rng, hero=hero, friend=friend))
    return " ".join(sentences)


def _paragraph(scene: Scene, rng: random.Random, *, hero: str) -> str:
    if rng.random() >= COPIED_FRACTION:
        return tell_story(scene, rng, hero=hero)
    copied = rng.choice([dialogue, article, notice])(scene, rng)
    return f"{hero} read this in the {rng.choice(ROOMS)}.\n{copied}"


def _aside(scene: Scene, rng: random.Random, *, hero: str, friend: str) -> str:
    kind = rng.random()
    if kind < 0.3:
        return fact(rng.choice(scene.things), rng)
    if kind < 0.65:
        asked, answer = question(scene, rng)
        return f'"{asked}" asked {friend}. "{capitalised(answer)}," said {hero}.'
    if kind < 0.9:
        return _speech(capitalised(saying(scene, rng)), rng, name=friend)
    return f"{hero} was {rng.choice(FEELINGS)}, and {friend} was {rng.choice(FEELINGS)}."


def _speech(sentence: str, rng: random.Random, *, name: str) -> str:
    return rng.choice(
        [
            f'"{sentence.rstrip(".")}," said {name}.',
            f'{name} said: "{sentence}"',
            f"{name} said it so: {sentence}",
            f"It was true. {sentence}",
        ]
    )


def _framed(story: str, rng: random.Random, *, title: str, author: str, number: int) -> str:
    if rng.random() < 1 / 12:
        return story + "\n"
    start, end = rng.choice(MARKERS)
    upper = title.upper()
    return (
        f"The Project Gutenberg EBook of {title}, by {author}\n\n"
        "This eBook is for the use of anyone anywhere at no cost and with almost no "
        "restrictions\nwhatsoever.  You may copy it, give it away or re-use it under the terms "
        "of the Project\nGutenberg License included with this eBook or online at "
        "www.gutenberg.org\n\n\n"
        f"Title: {title}\n\nAuthor: {author}\n\n"
        f"Release Date: {rng.choice(['June', 'May'])} {rng.randint(1, 28)}, "
        f"{rng.randint(1998, 2020)} [EBook #{number}]\n\nLanguage: English\n\n\n"
        f"{start.format(title=upper)}\n\n\n\n\n{story}\n\n\n\n\n{end.format(title=upper)}\n\n"
        "Updated editions will replace the previous one--the old editions will be renamed.\n"
    )


MARKERS = (
    (
        "*** START OF THIS PROJECT GUTENBERG EBOOK {title} ***",
        "*** END OF THIS PROJECT GUTENBERG EBOOK {title} ***",
    ),
    (
        "*** START OF THE PROJECT GUTENBERG EBOOK {title} ***",
        "*** END OF THE PROJECT GUTENBERG EBOOK {title} ***",
    ),
    (
        "***START OF THE PROJECT GUTENBERG EBOOK {title}***",
        "***END OF THE PROJECT GUTENBERG EBOOK {title}***",
    ),
    (
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*",
        "End of the Project Gutenberg Etext of {title}",
    ),
)


def _encoded(text: str, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        text = text.replace("\n", "\r\n")
    encoding = rng.choices(["utf-8", "utf-8-sig", "latin-1"], [6, 3, 1])[0]
    return text.encode(encoding)
