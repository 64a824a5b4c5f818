"""Parity with pycocoevalcap's PTB tokenizer, and its known quirks by hand."""

import json
from pathlib import Path

import pytest

from phiray.evals.tokenize_captions import tokenize_caption, tokenize_captions


def test_tokenize_captions_equals_the_java_tokenizer_on_real_captions(shared_data: Path) -> None:
    cases = json.loads((shared_data / "reference" / "ptb_tokenizer.json").read_text())["cases"]
    differing = [(raw, gold, own) for raw, gold in cases if (own := tokenize_caption(raw)) != gold]
    assert len(cases) == 2020
    assert differing == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("A man's dog -- isn't it? -- runs.", "a man 's dog is n't it runs"),
        ('Two (2) people; one "quoted" word.', "two -lrb- 2 -rrb- people one quoted word"),
        ("can't won't they're I'd", "ca n't wo n't they 're i 'd"),
        ("22 3/4 inches & $5.00!", "22\u00a03/4 inches & $ 5.00"),
        ("cannot gonna", "can not gon na"),
        ("He sat in the sun.", "he sat in the sun"),
        ("East St. and East St.", "east st. and east st."),
        ("5:54pm", "5:54 pm"),
        ("don\u2019t", "do n't"),
        ("...", ""),
        ("", ""),
    ],
)
def test_tokenize_caption_follows_the_quirks_of_ptb(raw: str, words: str) -> None:
    assert tokenize_caption(raw) == words


def test_tokenize_captions_keeps_the_order() -> None:
    assert tokenize_captions(["A cat.", "Dogs!"]) == ["a cat", "dogs"]
