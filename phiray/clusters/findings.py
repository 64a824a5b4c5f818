"""What is wrong with a cluster file, and on which line.

Limits: a finding is about one place; an order among findings is that of the lines.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from phiray.config.yaml_text import Path, YamlTree, dotted


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    line: int
    place: str
    """Keys from the root, such as `provider.type`."""
    problem: str
    """What is there, what was expected, and the mend."""


def finding(tree: YamlTree, path: Path, problem: str) -> Finding:
    """Say what is wrong at a path; a place that is not there has the line of what it is missing in.

    Args:
        tree: the file.
        path: keys from the root.
        problem: in words.
    """
    known = path
    while known and known not in tree.lines:
        known = known[:-1]
    return Finding(tree.lines.get(known, 1), dotted(path), problem)


def value_of(tree: YamlTree, path: Path) -> JsonValue:
    """Return what stands at a path, None if nothing does."""
    found: JsonValue = tree.value
    for part in path:
        if isinstance(found, dict) and isinstance(part, str):
            found = found.get(part)
        elif isinstance(found, list) and isinstance(part, int) and part < len(found):
            found = found[part]
        else:
            return None
    return found


def keys_of(tree: YamlTree, path: Path) -> list[str]:
    """Return the keys of the group at a path; none if there is no group."""
    found = value_of(tree, path)
    return list(found) if isinstance(found, dict) else []


def texts_of(tree: YamlTree, path: Path) -> list[tuple[Path, str]]:
    """Return the texts of the list at a path, each with its own path."""
    found = value_of(tree, path)
    items = found if isinstance(found, list) else []
    return [((*path, index), item) for index, item in enumerate(items) if isinstance(item, str)]
