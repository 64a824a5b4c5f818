"""What a search has seen, in the order in which it saw it: results of trials, and how they ended.

Source: the log, not Tune's own pickled state, is what a search goes on from; ASHA's rungs are made
anew from it, which Tune's own restoring leaves out.
Limits: one writer, the driver; a line that a dying driver left half written is passed over.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from phiray.checkpoints.files import write_text
from phiray.training.quarantine import read_json_lines

LOG_FILE = "results.jsonl"
Ending = Literal["complete", "stopped", "failed"]


@dataclass(frozen=True)
class TrialResult:
    """One measurement of a trial."""

    trial: int
    step: int
    validation_nats: float
    """Per label token."""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended: with its last step, stopped before, or by a fault of its settings."""

    trial: int
    ending: Ending


class SearchLog:
    """The results of one search."""

    def __init__(self, folder: Path) -> None:
        """Read what is there; what is told from here on is appended."""
        self._path = folder / LOG_FILE
        self.results: list[TrialResult] = []
        self.endings: dict[int, Ending] = {}
        # Any: JSON of an own file.
        lines: list[dict[str, Any]] = (
            list(read_json_lines(self._path)) if self._path.exists() else []
        )
        for line in lines:
            if "ending" in line:
                self.endings[line["trial"]] = line["ending"]
            else:
                self.results.append(TrialResult(**line))
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in lines))

    def add(self, item: TrialResult | TrialEnd) -> None:
        """Append one line. A measurement that is there already is not told twice."""
        if isinstance(item, TrialEnd):
            self.endings[item.trial] = item.ending
        elif item in self.results:
            return
        else:
            self.results.append(item)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(item)) + "\n")

    def ended_results(self) -> Sequence[TrialResult]:
        """Return the results of the trials that ended, in the order in which they came."""
        return [result for result in self.results if result.trial in self.endings]

    def results_of(self, trial: int) -> list[TrialResult]:
        """Return the results of one trial, by step."""
        found = [result for result in self.results if result.trial == trial]
        return sorted(found, key=lambda result: result.step)
