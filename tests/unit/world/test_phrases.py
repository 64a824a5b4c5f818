import random

import pytest

from phiray.world.captions import listing
from phiray.world.phrases import Material, PhraseGuard, words
from phiray.world.scenes import Scene


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("He said: A RED circle, at the top!", True),
        ("a red circle at the right", False),
        ("a circle", False),
        ("see a red circle at the", False),
    ],
)
def test_guard_finds_whole_sentences_without_case_and_punctuation(text: str, found: bool) -> None:
    guard = PhraseGuard(["A red circle at the top."])

    assert guard.occurs_in(text) is found


def test_guard_lets_short_answers_pass() -> None:
    assert not PhraseGuard(["red", "top"]).occurs_in("a red circle at the top")


def test_material_writes_again_until_the_guard_is_content() -> None:
    rng = random.Random(0)
    drawn: list[str] = []

    def write(scene: Scene, _rng: random.Random) -> str:
        drawn.append(listing(scene))
        return drawn[-1]

    free = Material(frozenset(), PhraseGuard([]))
    first = free.passage(write, random.Random(0))
    second = Material(frozenset(), PhraseGuard([first])).passage(write, rng)

    assert drawn[1] == first
    assert second == drawn[-1]
    assert words(first) != words(second)
