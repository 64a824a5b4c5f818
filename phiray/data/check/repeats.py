"""Find what stands twice among millions of records, at 16 to 24 bytes a record.

Source: BLAKE2b (RFC 7693), 64 bits of it: two of a million texts agree by chance once in 40 million
data sets.
Limits: what was seen is known by its position, in the order in which it was added.
"""

import hashlib
from array import array
from collections.abc import Iterator

import numpy as np

_DIGEST_BYTES = 8


class Repeats:
    """Keys as they come; at the end, those that came before."""

    def __init__(self) -> None:
        self._groups = array("q")
        self._digests = array("Q")

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, text: str, *, group: int = 0) -> None:
        """Remember a text of a group: equal texts of two groups are no repeat."""
        data = text.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()
        self._groups.append(group)
        self._digests.append(int.from_bytes(digest, "little"))

    def are_equal(self, first: int, second: int) -> bool:
        """Tell whether two texts are equal, and of one group."""
        return all(column[first] == column[second] for column in (self._groups, self._digests))

    def find(self) -> Iterator[tuple[int, int]]:
        """Give (position of the first, position of the repeat) of each repeat, in their order."""
        groups = np.frombuffer(self._groups, dtype=np.int64)
        digests = np.frombuffer(self._digests, dtype=np.uint64)
        order = np.lexsort((np.arange(len(groups)), digests, groups))
        same = (np.diff(groups[order]) == 0) & (np.diff(digests[order]) == 0)
        is_first = np.concatenate([[True], ~same]) if len(order) else np.empty(0, bool)
        firsts = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
        repeats = np.flatnonzero(~is_first)
        by_position = repeats[np.argsort(order[repeats])]
        for at in by_position.tolist():
            yield int(firsts[at]), int(order[at])
