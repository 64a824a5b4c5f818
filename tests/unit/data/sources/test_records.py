"""What makes a text unusable."""

import pytest

from phiray.data.sources.records import Document, text_fault


@pytest.mark.parametrize("text", ["a", "\n caf\u00e9", "\U0001f600", "\u2028x"])
def test_text_fault_accepts_what_can_be_read(text: str) -> None:
    assert text_fault(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "blank text"), (" \n\t\u00a0", "blank text"), ("a\ud800", "not Unicode")],
)
def test_text_fault_names_the_reason(text: str, reason: str) -> None:
    fault = text_fault(text)
    assert fault is not None
    assert fault[0] == reason


def test_num_bytes_counts_utf_8() -> None:
    assert (
        Document("document:x", "a\u00e9\u20ac\U0001f600", "x.jsonl", 0).num_bytes == 1 + 2 + 3 + 4
    )
