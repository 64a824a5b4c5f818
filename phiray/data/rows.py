"""What every data set is to the pipelines: rows that are read by their position.

Source: DESIGN 6 (a row is a position); `large_binary`, since a block of JPEGs can exceed 2 GiB.
Limits: a row that cannot be used is still a row: it has an `error` and no tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.data.mixture import RowRange
from phiray.types import FILLER_ROW

ROW_SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("image", pa.large_binary()),
        ("image_features", pa.large_binary()),
        ("error", pa.string()),
        ("detail", pa.string()),
    ]
)
"""Columns of `RowSource.read`: `labels` are not shifted; `image` holds the encoded bytes and is
null in a text row; `image_features` stands in its place where the tower has run before, and holds
(patches, vision_hidden) bf16; `error` (the reason) and `detail` are null where all is well."""


class RowSource(Protocol):
    """A data set as rows 0 .. num_rows - 1. It holds paths, not data: cheap to pickle."""

    @property
    def num_rows(self) -> int:
        """How many rows there are, bad ones included."""
        ...

    @property
    def rows_per_block(self) -> int:
        """Rows that travel through Ray Data together: few, so that the first step comes early.

        But not fewer than need be: each block is an object, which costs Ray a millisecond.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of all that the rows depend on, but of an image only its size in bytes.

        Equal fingerprints mean equal rows as long as no image was replaced by one of as many bytes.
        """
        ...

    @property
    def quick_fingerprint(self) -> str:
        """The same, but of the sizes of few images, always of the same ones.

        It is for whoever looks often, or over a network.
        """
        ...

    @property
    def mixture(self) -> tuple[RowRange, ...]:
        """The sources that the rows come from, in their order, with their weights."""
        ...

    def estimate_lengths(self) -> npt.NDArray[np.int64]:
        """Say about how many tokens each row has, without tokenising: (num_rows,)."""
        ...

    def read(self, row_ids: npt.NDArray[np.int64]) -> pa.Table:
        """Read rows in the order asked for, as ROW_SCHEMA.

        Args:
            row_ids: (rows,), each 0 .. num_rows - 1, or FILLER_ROW for an empty row.
        """
        ...


_JOINT = "+"


def join_fingerprints(fingerprints: Iterable[str]) -> str:
    """Join those of the training rows and, after them, of the validation rows, if there are any."""
    return _JOINT.join(fingerprints)


def training_fingerprint_of(joined: str) -> str:
    """Return the fingerprint of the training rows alone."""
    return joined.partition(_JOINT)[0]


@dataclass(frozen=True)
class Row:
    """One row before it goes into a table."""

    row_id: int
    input_ids: Sequence[int] = ()
    labels: Sequence[int] = ()
    image: bytes | None = None
    image_features: bytes | None = None
    error: str | None = None
    detail: str | None = None


FILLER = Row(FILLER_ROW)
"""The empty row that fills up a batch."""


def bad_row(row_id: int, *, reason: str, detail: str) -> Row:
    """Build the row that stands for one that cannot be used."""
    return Row(row_id, error=reason, detail=detail)


def table_from_rows(rows: Sequence[Row]) -> pa.Table:
    """Gather rows in a table of ROW_SCHEMA, in their order."""
    columns = [
        pa.array([getattr(row, field.name) for row in rows], type=field.type)
        for field in ROW_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=ROW_SCHEMA)
