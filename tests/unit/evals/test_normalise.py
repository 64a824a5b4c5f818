"""Short answers, by hand."""

import pytest

from phiray.evals.normalise import is_exact_match, is_short_answer, normalise_answer


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("The Red Bus.", "red bus"),
        ("Two", "2"),
        ("none", "0"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("yes, it is!", "yes it is"),
        ("  A   cat ", "cat"),
    ],
)
def test_normalise_answer_follows_vqa(raw: str, normal: str) -> None:
    assert normalise_answer(raw) == normal


def test_is_exact_match_ignores_case_articles_and_full_stops() -> None:
    assert is_exact_match("a Red circle.", "red circle")
    assert not is_exact_match("blue circle", "red circle")


@pytest.mark.parametrize(
    ("text", "short"), [("yes", True), ("a b c", True), ("a b c d", False), ("  ", False)]
)
def test_is_short_answer_counts_words(text: str, short: bool) -> None:
    assert is_short_answer(text) is short


@pytest.mark.parametrize("text", ["A", "the", "an a", "?", ". ."])
def test_is_short_answer_refuses_what_an_empty_answer_would_match(text: str) -> None:
    assert is_exact_match("", text)
    assert not is_short_answer(text)
