"""What a Ray Data actor runs: read rows by position.

Source: facts/pipeline.md; facts/ray.md section 3 (warm actors).
Limits: imports no torch, which would cost each reader seconds and hundreds of megabytes; only a
reader that decodes loads it, with the function that it is given.
"""

from collections.abc import Callable

import pyarrow as pa

from phiray.data.rows import RowSource

DecodeRows = Callable[[pa.Table], pa.Table]
"""Replaces the encoded images of a table by pixels."""


class RowReader:
    """A warm actor that reads rows by position, and decodes them where asked to."""

    def __init__(self, source: RowSource, decode: DecodeRows | None) -> None:
        """Hold the source; without `decode` images stay encoded."""
        self._source = source
        self._decode = decode

    def __call__(self, block: pa.Table) -> pa.Table:
        """Read the rows of a block of row ids."""
        table = self._source.read(block["row_id"].to_numpy())
        return table if self._decode is None else self._decode(table)
