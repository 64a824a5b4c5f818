"""A document as the readers give it, and one that cannot be used.

Source: DESIGN 6: what cannot be used is counted by reason, never replaced.
Limits: a whole document is in memory; the longest real one seen has 1.4 million characters.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One whole text with the id that decides on its part."""

    key: str
    """What `split.book_key` or `split.document_key` gives."""
    text: str
    path: str
    """File below the data root."""
    offset: int
    """Byte in that file where its row begins; 0 where the file is one document."""

    @property
    def num_bytes(self) -> int:
        """Length in UTF-8: what bits per byte are divided by."""
        return len(self.text.encode())


@dataclass(frozen=True)
class BadDocument:
    """A document that cannot be used."""

    where: str
    """File below the data root, and the line where there are many."""
    reason: str
    """The key that is counted: the same words for all of a kind."""
    detail: str


Entry = Document | BadDocument


def text_fault(text: str) -> tuple[str, str] | None:
    """Say why no model can learn from a text.

    Returns:
        Reason and detail; None if the text is fine.
    """
    if not text.strip():
        return "blank text", f"{len(text)} characters, none visible"
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may spell half a character: "\ud800"
        return "not Unicode", f"{error.reason} at character {error.start}"
    return None
