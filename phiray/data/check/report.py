"""What a check of the data found: counts, notes, and findings that want mending.

Limits: the table shows one example of each kind, the JSON all; about 100 bytes of memory for each.
"""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """Where something was seen, each time."""

    places: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How often it was seen."""
        return len(self.places)


@dataclass
class CheckReport:
    """Filled while the data is looked through."""

    counts: dict[str, int] = field(default_factory=dict)
    """What is there."""
    notes: dict[str, Tally] = field(default_factory=dict)
    """Worth knowing, nothing to mend."""
    findings: dict[str, Tally] = field(default_factory=dict)
    """To be mended."""

    @property
    def has_findings(self) -> bool:
        """Tell whether anything wants mending."""
        return bool(self.findings)

    def note(self, kind: str, place: str) -> None:
        """Count something that is no fault."""
        self.notes.setdefault(kind, Tally()).places.append(place)

    def find(self, kind: str, place: str) -> None:
        """Count a fault."""
        self.findings.setdefault(kind, Tally()).places.append(place)

    def rows(self) -> list[tuple[str, str, str]]:
        """Give the table: what, how many, one example."""
        seen = [(kind, str(count), "") for kind, count in self.counts.items()]
        for mark, tallies in (("note", self.notes), ("FOUND", self.findings)):
            seen += [
                (f"{mark}: {kind}", str(tally.count), tally.places[0])
                for kind, tally in tallies.items()
            ]
        return seen

    def to_json(self) -> dict[str, object]:
        """Give the report as plain JSON."""
        return {
            "has_findings": self.has_findings,
            "counts": self.counts,
            "notes": _plain(self.notes),
            "findings": _plain(self.findings),
        }


def _plain(tallies: dict[str, Tally]) -> dict[str, object]:
    return {kind: {"count": tally.count, "places": tally.places} for kind, tally in tallies.items()}
