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
    sentence,
    stock,
)
from phiray.world.scenes import Scene

NAMES = ("Ann", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack")
SURFACES = ("wall", "door", "page", "card", "window", "box", "map", "table")
TIMES = ("In the morning", "At noon", "In the evening", "At night", "The next day", "Later")
FEELINGS = ("glad", "tired", "curious", "silent", "happy", "afraid")
AUTHORS = ("Mary Field", "John Stone", "Ada Brook", "Paul Zoë", "Rosa Hill", "Karl Wood")

ASIDE_FRACTION = 0.3
SPEECH_RANGE = (1, 4)
ECHO_FRACTION = 0.4
"""Share of speeches that repeat the one before word by word: the simplest copying there is."""
PARAGRAPH_COUNTS = (1, 1, 1, 2, 3, 6)
"""Lengths of books; many are one page, so that a description is often the end of a text."""
COPIED_FRACTION = 0.25
"""Share of paragraphs that quote a dialogue, an article or a notice."""


@dataclass(frozen=True)
class Book:
    """One book."""

    story: str
    """What is left once header and footer are stripped."""
    data: bytes
    """The file."""


def write_book(number: int, rng: random.Random, *, material: Material) -> Book:
    """Write one book.

    Args:
        number: Gutenberg number.
        rng: source of all choices.
        material: gives the scenes that the book may tell of.
    """
    name = rng.choice(NAMES)
    title = f"{name} and the {capitalised(rng.choice(SURFACES))}"
    author = rng.choice(AUTHORS)
    tell = partial(_paragraph, hero=name)
    paragraphs = [material.passage(tell, rng) for _ in range(rng.choice(PARAGRAPH_COUNTS))]
    story = "\n\n".join([title.upper(), f"by {author}", *paragraphs])
    text = _framed(story, rng, title=title, author=author, number=number)
    return Book(story=story, data=_encoded(text, rng))


def tell_story(scene: Scene, rng: random.Random, *, hero: str) -> str:
    """Tell of one scene: take stock of it, say it again in other words, perhaps ask about it."""
    friend = rng.choice([name for name in NAMES if name != hero])
    seen = stock(scene, rng)
    sentences = [
        rng.choice(
            [
                f"{rng.choice(TIMES)} {hero} looked at the {rng.choice(SURFACES)}: {seen}.",
                f"{hero} wrote: {seen}.",
                f"On the {rng.choice(SURFACES)} was {seen}.",
                f"{friend} was {rng.choice(FEELINGS)}, and read: {seen}.",
            ]
        )
    ]
    if rng.random() < ASIDE_FRACTION:
        sentences.append(_aside(scene, rng, hero=hero, friend=friend))
    said = sentence(scene, rng)
    for _ in range(rng.randint(*SPEECH_RANGE)):
        sentences.append(_speech(said, rng, name=rng.choice([hero, friend])))
        said = said if rng.random() < ECHO_FRACTION else sentence(scene, rng)
    return " ".join(sentences)


def _paragraph(scene: Scene, rng: random.Random, *, hero: str) -> str:
    if rng.random() >= COPIED_FRACTION:
        return tell_story(scene, rng, hero=hero)
    copied = rng.choice([dialogue, article, notice])(scene, rng)
    return f"{hero} read this.\n{copied}"


def _aside(scene: Scene, rng: random.Random, *, hero: str, friend: str) -> str:
    kind = rng.random()
    if kind < 0.4:
        return fact(rng.choice(scene.things), rng)
    if kind < 0.8:
        asked, answer = question(scene, rng)
        return f'"{asked}" asked {friend}. "{capitalised(answer)}," said {hero}.'
    return f"{hero} was {rng.choice(FEELINGS)}."


def _speech(said: str, rng: random.Random, *, name: str) -> str:
    return rng.choice([f'{name} said: "{said}"', f"{name} said: {said}", said])


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
