"""What a check of the data found: counts, notes, faults that are judged by their share, and leaks.

Source: DESIGN 4 and 6 (counted by reason; above a set share the data is refused).
Limits: the first MAX_PLACES places of a kind are kept, about 100 bytes each; counts are of all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_BAD_FRACTION = 0.01
"""Share (0..1) at fault that a folder may have: the default of `data.max_bad_fraction`."""
MAX_PLACES = 100_000
"""Places that are listed of one kind of fault or leak."""
MAX_NOTED_PLACES = 100
"""Places that are listed of one kind of note: nothing there wants mending."""


@dataclass
class Tally:
    """Where something was seen."""

    count: int = 0
    """How often."""
    places: list[str] = field(default_factory=list)
    """The first of them."""
    unit: str | None = None
    """What it is a share of; none for what one case is too many of."""

    def add(self, place: str, *, at_most: int) -> None:
        """Count one more."""
        self.count += 1
        if len(self.places) < at_most:
            self.places.append(place)


@dataclass
class CheckReport:
    """Filled while the data is looked through."""

    counts: dict[str, int] = field(default_factory=dict)
    """What is there."""
    totals: dict[str, int] = field(default_factory=dict)
    """Of each unit of faults, how much there is, usable or not."""
    notes: dict[str, Tally] = field(default_factory=dict)
    """Worth knowing, nothing to mend."""
    findings: dict[str, Tally] = field(default_factory=dict)
    """To be mended: faults and leaks."""

    def note(self, kind: str, place: str) -> None:
        """Count something that is no fault."""
        self.notes.setdefault(kind, Tally()).add(place, at_most=MAX_NOTED_PLACES)

    def find(self, kind: str, place: str, *, of: str) -> None:
        """Count a fault; `of` names the unit whose share decides whether there are too many."""
        self.findings.setdefault(kind, Tally(unit=of)).add(place, at_most=MAX_PLACES)

    def leak(self, kind: str, place: str) -> None:
        """Count what makes a score or a file worthless: one is too many."""
        self.findings.setdefault(kind, Tally()).add(place, at_most=MAX_PLACES)

    def add_count(self, what: str, number: int) -> None:
        """Count more of what is there."""
        self.counts[what] = self.counts.get(what, 0) + number

    def add_total(self, unit: str, number: int) -> None:
        """Count more of a unit."""
        self.totals[unit] = self.totals.get(unit, 0) + number

    def fault_fractions(self) -> dict[str, float]:
        """Return the share (0..1) of each unit that is at fault."""
        counts: dict[str, int] = {}
        for tally in self.findings.values():
            if tally.unit is not None:
                counts[tally.unit] = counts.get(tally.unit, 0) + tally.count
        return {unit: count / max(1, self.totals.get(unit, 0)) for unit, count in counts.items()}

    def verdict(self, max_bad_fraction: float) -> list[str]:
        """Say why the data is not fit to be trained on; nothing if it is.

        Args:
            max_bad_fraction: share (0..1) of each unit that may be at fault.
        """
        leaks = {kind: tally for kind, tally in self.findings.items() if tally.unit is None}
        return [f"{kind}: {tally.count}, and one is too many" for kind, tally in leaks.items()] + [
            f"{fraction:.2%} of the {unit} are at fault, at most {max_bad_fraction:.2%} may be"
            for unit, fraction in self.fault_fractions().items()
            if fraction > max_bad_fraction
        ]

    def rows(self) -> list[tuple[str, str, str]]:
        """Give the table: what, how many, one example."""
        seen = [(kind, str(count), "") for kind, count in self.counts.items()]
        for mark, tallies in (("note", self.notes), ("FOUND", self.findings)):
            seen += [
                (f"{mark}: {kind}", str(tally.count), _printable(tally.places[0]))
                for kind, tally in tallies.items()
            ]
        return seen

    def to_json(self, max_bad_fraction: float) -> dict[str, object]:
        """Give report and verdict as plain JSON."""
        verdict = self.verdict(max_bad_fraction)
        return {
            "is_fit": not verdict,
            "verdict": verdict,
            "max_bad_fraction": max_bad_fraction,
            "fault_fractions": self.fault_fractions(),
            "counts": self.counts,
            "totals": self.totals,
            "notes": _plain(self.notes),
            "findings": _plain(self.findings),
        }


def _printable(place: str) -> str:
    """Keep control characters, and bytes that are no text, of names in the data off a terminal."""
    return "".join(character if character.isprintable() else "?" for character in place)


def _plain(tallies: Mapping[str, Tally]) -> dict[str, object]:
    return {
        kind: {"count": tally.count, "of": tally.unit, "places": tally.places}
        for kind, tally in tallies.items()
    }
