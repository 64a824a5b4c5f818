"""Sources with weights: which rows an epoch takes from each, as a pure function of seed and epoch.

Source: sampling with weights as in LLaVA-NeXT's and Megatron's data mixes, but counted out and not
drawn: the share of a source in an epoch is no matter of chance.
Limits: a source's part of a turn is rounded to whole rows; at least one row of each source comes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from phiray.errors import ConfigError

MOST_TOLD = 12
"""Sources that a message names."""
_PART_OF_TURN = 1
"""Third word of a seed: another one than the order's, whose two words are [seed, epoch]."""


@dataclass(frozen=True)
class RowRange:
    """Rows first_row .. first_row + num_rows - 1 of a data set: those of one source."""

    name: str
    first_row: int
    num_rows: int
    weight: float = 1.0
    """How often each row comes in an epoch; 0.5 is every second row, and then the others."""

    @property
    def rows_per_epoch(self) -> int:
        """Rows that an epoch takes, the same number in each."""
        return self.num_turns * self.num_rows + self.num_drawn

    @property
    def num_turns(self) -> int:
        """How often an epoch takes all rows."""
        return int(self.weight)

    @property
    def num_drawn(self) -> int:
        """How many rows it takes once more: the part of a turn that is left."""
        part = round((self.weight - self.num_turns) * self.num_rows)
        return part if self.num_turns else max(1, part)


def rows_of_epoch(ranges: Sequence[RowRange], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """List the rows that an epoch takes, source by source, not yet shuffled.

    The part of a turn goes round a fixed order of the source's rows: no row comes twice in it, and
    over epochs no row comes more than once oftener than another of its source.

    Returns:
        (rows,) int64; without weights 0 .. number of rows - 1.
    """
    parts: list[npt.NDArray[np.int64]] = []
    for index, part in enumerate(ranges):
        rows = part.first_row + np.arange(part.num_rows, dtype=np.int64)  # (rows,)
        parts += [rows] * part.num_turns
        if part.num_drawn:
            generator = np.random.Generator(np.random.PCG64([seed, index, _PART_OF_TURN]))
            circle = generator.permutation(part.num_rows)  # (rows,)
            places = (epoch * part.num_drawn + np.arange(part.num_drawn)) % part.num_rows
            parts.append(rows[circle[places]])
    return np.concatenate(parts)


def mixture_of_files(
    ranges: Mapping[str, range], weights: Mapping[str, float]
) -> tuple[RowRange, ...]:
    """Weigh the rows of files, whose names without folder and suffix are those of the sources.

    Args:
        ranges: rows by file; one under "" where files are mixed.
        weights: by name of the source; those not named have 1.

    Raises:
        ConfigError: if `weights` name a source that has no rows.
    """
    found = [(PurePosixPath(file).stem or "text", rows) for file, rows in ranges.items() if rows]
    names = list(dict.fromkeys(name for name, _ in found))
    for name in weights:
        if name not in names:
            raise ConfigError(
                f"data.weights names {name!r}, of which there are no rows to train on. It must be "
                f"one of {', '.join(names[:MOST_TOLD])}{', ...' if len(names) > MOST_TOLD else ''}"
                ": a file without its suffix. Correct it."
            )
    return tuple(
        RowRange(name, rows.start, len(rows), weights.get(name, 1.0)) for name, rows in found
    )


def describe_mixture(ranges: Sequence[RowRange]) -> list[str]:
    """Say what an epoch takes from each source, one line each; nothing where there is one source.

    Ranges of one name are one source. Of many sources the largest are named.
    """
    taken: Counter[str] = Counter()
    there: Counter[str] = Counter()
    for part in ranges:
        taken[part.name] += part.rows_per_epoch
        there[part.name] += part.num_rows
    if len(taken) < 2:
        return []
    weights = {part.name: part.weight for part in ranges}
    names = [name for name, _ in taken.most_common(MOST_TOLD)]
    width = max(len(name) for name in names)
    lines = [f"an epoch takes {taken.total():,} rows from {len(taken)} sources"]
    lines += [
        f"  {name:<{width}}  {there[name]:>10,} rows x {weights[name]:<5g} = {taken[name]:>10,}"
        f"  {taken[name] / taken.total():6.1%}"
        for name in names
    ]
    others = len(taken) - len(names)
    return [*lines, f"  and {others} smaller sources"] if others else lines
