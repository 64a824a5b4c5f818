"""Bring short answers to one form before they are compared.

Source: the answer processing of the VQA evaluation (VQAv2, as in lmms-eval): lower case, number
words to digits, articles and punctuation dropped.
Limits: English; the list of contractions without an apostrophe is not repeated here.
"""

import re

SHORT_ANSWER_WORDS = 3
"""Exact match is asked only of reference answers with at most so many words."""

_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),(?=\d)")
_FULL_STOP_OUTSIDE_NUMBER = re.compile(r"\.(?!\d)")
_PUNCTUATION = re.compile(r"[;/\[\]\"{}()=+\\_><@`,?!:\-]")


def normalise_answer(text: str) -> str:
    """Return the answer in the form in which it is compared."""
    lowered = _COMMA_IN_NUMBER.sub("", text.lower().strip())
    spaced = _PUNCTUATION.sub(" ", _FULL_STOP_OUTSIDE_NUMBER.sub("", lowered))
    words = (_NUMBERS.get(word, word) for word in spaced.split())
    return " ".join(word for word in words if word not in _ARTICLES)


def is_short_answer(text: str) -> bool:
    """Tell whether exact match is asked of this reference answer.

    Not of one that has nothing left to compare, such as "A": an empty answer would match it.
    """
    return len(text.split()) <= SHORT_ANSWER_WORDS and normalise_answer(text) != ""


def is_exact_match(answer: str, reference: str) -> bool:
    """Compare two answers after normalising both."""
    return normalise_answer(answer) == normalise_answer(reference)
