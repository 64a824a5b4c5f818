"""A file that has arrived in part, and what the server said of it: enough to go on after a kill.

Source: RFC 9110, sections 8.8 (validators) and 13.1.5 (If-Range wants a strong one).
Limits: nothing is flushed to the disk. What a power cut tears has a wrong size, or a wrong hash.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

_WEAK = "W/"


@dataclass(frozen=True)
class Described:
    """A file as its server described it."""

    url: str
    num_bytes: int
    validator: str
    """For If-Range; empty where the server gives none, so that nothing can be gone on with."""


@dataclass(frozen=True)
class PartialFile:
    """The bytes so far, and beside them what they are a part of."""

    path: Path

    @property
    def _note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def num_bytes(self) -> int:
        """Return how many bytes are there."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def described(self, url: str) -> Described | None:
        """Return what the server said of it; None if there is nothing to go on with."""
        try:
            note = Described(**json.loads(self._note.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return note if note.url == url and note.validator else None

    def begin(self, described: Described) -> None:
        """Throw away what is there, and note what is about to arrive."""
        self.drop()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._note.with_name(f"{self._note.name}.new")
        fresh.write_text(json.dumps(asdict(described)))
        fresh.replace(self._note)

    def drop(self) -> None:
        """Delete it: first the note, without which the bytes count for nothing."""
        self._note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Give the whole file its name, at once."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)
        self._note.unlink(missing_ok=True)


def validator_of(response: httpx.Response) -> str:
    """Return what tells whether the file is still the same: a strong tag, else its date."""
    tag: str = response.headers.get("ETag", "")
    if tag and not tag.startswith(_WEAK):
        return tag
    return str(response.headers.get("Last-Modified", ""))
