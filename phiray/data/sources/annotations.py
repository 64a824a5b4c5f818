"""Read annotation files, and keep a list of what in them could not be used.

Source: facts/reliability_security.md (a number of more than 4,300 digits, NaN and deep nesting are
all accepted or crash Python's json; a Git LFS pointer is a common half-finished download).
Limits: a file is read whole; at most MAX_JSON_BYTES.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phiray.errors import DataError, ExitCode
from phiray.images.headers import LFS_HEAD
from phiray.storage import AnyPath, join, version_of

MAX_JSON_BYTES = 4 * 1024**3
"""Largest annotation file: LLaVA's largest mix is 1 GB."""
TOLERATED = frozenset({"missing image", "duplicate caption", "duplicate row", "no captions"})
"""Reasons that are no fault: a partial download, several years of COCO, images without text."""


@dataclass(frozen=True)
class Excluded:
    """A record of an annotation file that became no row."""

    reason: str
    """The same for all records of a kind: the key that is counted."""
    detail: str
    """Which record, and what was found."""


class BadRecordError(Exception):
    """A record that becomes no row; it is counted, and never leaves the readers."""

    def __init__(self, reason: str, found: str) -> None:
        """Keep the key that is counted, and what was found."""
        super().__init__(reason)
        self.reason = reason
        self.found = found


def read_json(path: AnyPath) -> object:
    """Read one JSON file.

    Raises:
        DataError: if it is too large, an LFS pointer, not UTF-8, or not JSON.
    """
    num_bytes = version_of(path).num_bytes
    if num_bytes > MAX_JSON_BYTES:
        raise not_json(path, f"it has {num_bytes} bytes, over {MAX_JSON_BYTES}")
    data = path.read_bytes()
    if data.startswith(LFS_HEAD):
        raise not_json(path, "it is a Git LFS pointer, not the file itself")
    try:
        return json.loads(data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise not_json(path, str(error)) from error


def existing_files(root: AnyPath, names: Sequence[str], *, setting: str) -> list[AnyPath]:
    """Give those of the named files that exist below `root`.

    Raises:
        DataError: with exit code 66 if there is none.
    """
    files = [path for name in names if (path := join(root, name)).is_file()]
    if not files:
        raise DataError(
            f"None of the {len(names)} files of {setting} exists; the first one tried is "
            f"{join(root, names[0])}. Expected at least one. Set data.root to the folder of the "
            f"data, or {setting} to its files.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return files


def is_llava(content: object) -> bool:
    """Tell whether a JSON file looks like LLaVA's conversations."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and "conversations" in content[0]
    )


def is_coco(content: object) -> bool:
    """Tell whether a JSON file looks like COCO's annotations."""
    return isinstance(content, dict) and "images" in content and "annotations" in content


def check_excluded(
    excluded: Sequence[Excluded], *, num_usable: int, max_bad_fraction: float
) -> None:
    """Stop where too large a share is at fault.

    Raises:
        DataError: if the faulty records are more than `max_bad_fraction` of all.
    """
    faults = [item for item in excluded if item.reason not in TOLERATED]
    total = len(faults) + num_usable
    if len(faults) > max_bad_fraction * total:
        raise DataError(
            f"{len(faults)} of {total} records cannot be used, e.g. {faults[0].detail} "
            f"({faults[0].reason}). At most data.max_bad_fraction={max_bad_fraction} of them may "
            "be bad. Mend or remove them: `phiray data check --json` lists all, given the stage's "
            "config or data.root."
        )


def say_counts(reasons: Mapping[str, int]) -> str:
    """Say how often each reason was met, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in Counter(reasons).most_common())


def refuse_constant(name: str) -> object:
    """Refuse NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError(f"{name} is not a JSON value")


def not_json(path: AnyPath, found: str) -> DataError:
    """Build the error of a file that is no JSON."""
    return DataError(
        f"{path} cannot be read as JSON: {found}. Expected a COCO or LLaVA annotation file. "
        "Download it again."
    )
