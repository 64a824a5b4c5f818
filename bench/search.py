"""Sum up finished searches: trials, what early stopping saved, the winner on new seeds.

    python bench/search.py runs/tune-projector [ANOTHER...] > bench/results/search.json

Limits: reads what `phiray tune` left and runs nothing; folders are left out of the result.
"""

import json
import sys
from pathlib import Path
from typing import Any

from demo import machine


def main(folders: list[str]) -> None:
    """Print the sum as JSON."""
    record = {"machine": machine(), "searches": [sum_up(Path(folder)) for folder in folders]}
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


# Any: JSON that phiray writes.
def sum_up(folder: Path) -> dict[str, Any]:
    """Join what a search says of itself with how its runs were made, and how long they took."""
    search = json.loads((folder / "search.json").read_text())
    runs = [path.parent for path in sorted((folder / "trials").glob("*/manifest.json"))]
    manifests = [json.loads((run / "manifest.json").read_text()) for run in runs]
    times = [event["unix_time_seconds"] for run in runs for event in read_events(run)]
    steps = sum(trial["steps"] for trial in search["trials"])
    return {
        **search,
        "steps_spent": steps,
        "spent_fraction": round(steps / (search["max_steps"] * len(search["trials"])), 3),
        "first_to_last_event_seconds": round(max(times) - min(times), 1),
        "commits": sorted({manifest["commit"] for manifest in manifests}),
        "versions": manifests[0]["versions"],
    }


# Any: as above.
def read_events(run: Path) -> list[dict[str, Any]]:
    """Read what befell a run."""
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    main(sys.argv[1:])
