import random

import pytest

from phiray.world.books import write_book
from phiray.world.phrases import Material, PhraseGuard

MATERIAL = Material(frozenset(), PhraseGuard([]))


def book_bytes(number: int) -> bytes:
    rng = random.Random(f"book:{number}")
    return write_book(number, rng, material=MATERIAL, num_paragraphs=2).data


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


@pytest.mark.parametrize("number", range(20))
def test_story_stands_in_the_file_without_the_header(number: int) -> None:
    rng = random.Random(f"book:{number}")
    book = write_book(number, rng, material=MATERIAL, num_paragraphs=3)

    text = book.data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")

    assert book.story.split("\n\n")[-1] in text
    assert "Gutenberg" not in book.story
    assert len(book.story.split("\n\n")) == 2 + 3
