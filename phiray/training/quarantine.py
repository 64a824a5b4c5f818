"""List the rows that could not be used, once each, and stop a run that has too many.

Limits: a row counts once it is met in training. Before, `phiray data check` looks at all images,
but at no lengths; the start of a run looks at a sample of both.
"""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from phiray.checkpoints.files import error_from_write, write_text
from phiray.errors import DataError
from phiray.types import BadRow

QUARANTINE_NAME = "quarantine.jsonl"


def restore_quarantine(run_dir: Path, *, step: int) -> dict[int, str]:
    """Cut the list back to what was met up to a step; return the reason of each row id left."""
    path = run_dir / QUARANTINE_NAME
    if path.exists():
        entries = [entry for entry in read_json_lines(path) if int(str(entry["step"])) <= step]
        write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return read_quarantine(run_dir)


def read_quarantine(run_dir: Path) -> dict[int, str]:
    """Return the reason of each row id in the list."""
    path = run_dir / QUARANTINE_NAME
    entries = read_json_lines(path) if path.exists() else []
    return {int(str(entry["row_id"])): str(entry["reason"]) for entry in entries}


def append_quarantine(run_dir: Path, bad_rows: list[BadRow], *, step: int) -> None:
    """Append rows to the list.

    Raises:
        CheckpointError: if the file cannot be written (74, 77).
    """
    path = run_dir / QUARANTINE_NAME
    try:
        with path.open("a", encoding="utf-8") as file:
            for row in bad_rows:
                file.write(json.dumps({"step": step, **asdict(row)}) + "\n")
    except OSError as error:
        raise error_from_write(error, what="The list of bad rows", path=path) from error


def bad_row_metrics(reasons: dict[int, str]) -> dict[str, float]:
    """Count bad rows by reason, as metrics: `bad_rows/broken_image` and the like."""
    counts = Counter(reasons.values())
    return {f"bad_rows/{reason.replace(' ', '_')}": counts[reason] for reason in sorted(counts)}


def check_bad_rows(
    reasons: dict[int, str], *, num_rows: int, max_bad_fraction: float, run_dir: Path
) -> None:
    """Stop when too many distinct rows could not be used.

    Args:
        reasons: the reason of each bad row id met so far.
        num_rows: rows of the data set.
        max_bad_fraction: share (0..1) that may be bad.
        run_dir: folder of the list.

    Raises:
        DataError: with the count of each reason.
    """
    if len(reasons) <= max_bad_fraction * num_rows:
        return
    counts = Counter(reasons.values()).most_common()
    raise DataError(
        f"{len(reasons)} of {num_rows} rows could not be read so far ("
        + ", ".join(f"{count} {reason}" for reason, count in counts)
        + f"). At most data.max_bad_fraction={max_bad_fraction} of them may be bad. "
        f"{run_dir / QUARANTINE_NAME} lists them. To go on without them, raise "
        "data.max_bad_fraction and start again with --resume."
    )


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """Read JSON lines up to the first one that is torn: a crash tears only the last."""
    values: list[dict[str, object]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values.append(json.loads(line))
        except ValueError:
            break
    return values
