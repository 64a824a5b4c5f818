import random

from hypothesis import given
from hypothesis import strategies as st

from phiray.data.check.repeats import Repeats


def test_find_gives_each_repeat_with_its_first() -> None:
    repeats = Repeats()
    for text, group in (("a", 1), ("b", 1), ("a", 2), ("a", 1), ("b", 1), ("a", 1)):
        repeats.add(text, group=group)

    assert list(repeats.find()) == [(0, 3), (1, 4), (0, 5)]
    assert repeats.are_equal(0, 3)
    assert not repeats.are_equal(0, 2)
    assert len(repeats) == 6


def test_find_of_nothing_gives_nothing() -> None:
    assert list(Repeats().find()) == []


def test_add_takes_half_a_character() -> None:
    repeats = Repeats()
    for _ in range(2):
        repeats.add("\ud800")

    assert list(repeats.find()) == [(0, 1)]


@given(st.integers(0, 2**32), st.integers(0, 60))
def test_find_equals_a_dictionary(seed: int, size: int) -> None:
    rng = random.Random(seed)
    keys = [(rng.choice("abcd"), rng.randint(0, 3)) for _ in range(size)]
    repeats, wanted = Repeats(), []
    first: dict[tuple[str, int], int] = {}
    for position, (text, group) in enumerate(keys):
        repeats.add(text, group=group)
        if first.setdefault((text, group), position) != position:
            wanted.append((first[text, group], position))

    assert list(repeats.find()) == wanted
