import random

import pytest

from phiray.world.books import PARAGRAPH_COUNTS, write_book
from phiray.world.phrases import Material, PhraseGuard

MATERIAL = Material(frozenset(), PhraseGuard([]))


def book_bytes(number: int) -> bytes:
    rng = random.Random(f"book:{number}")
    return write_book(number, rng, material=MATERIAL).data


def test_books_come_in_all_the_forms_of_real_files() -> None:
    files = [book_bytes(number) for number in range(200)]

    forms = {
        "START OF THIS": 0,
        "*** START OF THE": 0,
        "***START OF THE": 0,
        "*END*THE SMALL PRINT": 0,
    }
    for form in forms:
        forms[form] = sum(form.encode() in data for data in files)
    headerless = sum(b"Gutenberg" not in data for data in files)
    assert min(forms.values()) > 20
    assert sum(forms.values()) + headerless == len(files)
    assert 5 < headerless < 40
    assert any(data.startswith(b"\xef\xbb\xbf") for data in files)
    assert any(b"\r\n" in data for data in files)


def test_many_books_are_one_page_and_some_are_long() -> None:
    lengths = [
        len(write_book(n, random.Random(n), material=MATERIAL).story.split("\n\n")) - 2
        for n in range(200)
    ]

    assert set(lengths) == set(PARAGRAPH_COUNTS)
    assert 60 < lengths.count(1) < 140


@pytest.mark.parametrize("number", range(20))
def test_story_stands_in_the_file_without_the_header(number: int) -> None:
    rng = random.Random(f"book:{number}")
    book = write_book(number, rng, material=MATERIAL)

    text = book.data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")

    assert book.story.split("\n\n")[-1] in text
    assert "Gutenberg" not in book.story
