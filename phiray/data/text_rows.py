"""Prepared text as rows, and the held-out documents that no row is made of.

Source: DESIGN 6; `token_rows.py` gathers them.
Limits: every node must see the prepared folder under the same path; it may keep copies of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.config.data import TextDataConfig
from phiray.data.cache.node_cache import NodeCache
from phiray.data.mixture import RowRange, mixture_of_files
from phiray.data.prepare.prepared_text import PreparedText
from phiray.data.rows import ROW_SCHEMA
from phiray.data.sources.documents import index_documents, read_document
from phiray.data.sources.records import Document
from phiray.data.token_rows import TokenRows
from phiray.errors import DataError
from phiray.types import FILLER_ROW, Progress

_BLOCK_TOKENS = 2**20
"""Of a block: 8 MB with labels. A million steps of 8 rows, in blocks of 128, were 62,500 objects:
each start took a minute, and Ray a third of a core for minutes after it."""
_MAX_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class TextRows:
    """Rows of tokens; every token is learnt, so the labels are the ids."""

    tokens: TokenRows
    """Only paths and sizes travel to the workers."""
    fingerprint: str
    mixture: tuple[RowRange, ...] = ()
    """One range for each file if files were kept apart, else one for all, as none is."""

    @staticmethod
    def from_prepared(
        prepared: PreparedText,
        *,
        cache: NodeCache | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> "TextRows":
        """See a prepared folder as rows, read through a node's cache where there is one.

        Raises:
            ConfigError: if `weights` name a file that has no rows of its own.
        """
        tokens = TokenRows(
            str(prepared.folder.resolve()),
            prepared.read_layout(),
            dtype=prepared.dtype.name,
            cache=cache,
        )
        mixture = mixture_of_files(prepared.row_ranges(), weights or {})
        return TextRows(tokens, prepared.manifest.fingerprint, mixture)

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self.tokens.num_rows

    @property
    def rows_per_block(self) -> int:
        """As many as give a block of some megabytes."""
        return max(1, min(_MAX_BLOCK_ROWS, _BLOCK_TOKENS // self.tokens.layout.sequence_length))

    @property
    def quick_fingerprint(self) -> str:
        """The fingerprint itself: it is at hand."""
        return self.fingerprint

    def estimate_lengths(self) -> npt.NDArray[np.int64]:
        """Count the tokens of each row, (rows,): all but the last of a file are full."""
        return self.tokens.row_lengths(np.arange(self.num_rows))

    def read(self, row_ids: npt.NDArray[np.int64]) -> pa.Table:
        """Read rows in the order asked for, as ROW_SCHEMA; the last one ends where the text does.

        Args:
            row_ids: (rows,), each 0 .. num_rows - 1, or FILLER_ROW for an empty row.

        Raises:
            DataError: if a row does not exist or the tokens are damaged (65), or if they are not on
                this machine (66).
        """
        self._check(row_ids)
        is_real = row_ids != FILLER_ROW
        lengths = np.zeros(len(row_ids), dtype=np.int64)
        lengths[is_real] = self.tokens.row_lengths(row_ids[is_real])
        rows = self.tokens.gather(row_ids[is_real])  # (real rows, seq)
        if (lengths[is_real] == rows.shape[1]).all():
            flat = rows.reshape(-1)  # (tokens,)
        else:
            flat = rows[np.arange(rows.shape[1]) < lengths[is_real, None]]  # (tokens,)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)  # (rows + 1,)
        tokens = pa.ListArray.from_arrays(offsets, flat.astype(np.int32))
        nulls = [pa.nulls(len(row_ids), field.type) for field in list(ROW_SCHEMA)[3:]]
        return pa.Table.from_arrays([pa.array(row_ids), tokens, tokens, *nulls], schema=ROW_SCHEMA)

    def _check(self, row_ids: npt.NDArray[np.int64]) -> None:
        is_wrong = (row_ids >= self.num_rows) | (row_ids < FILLER_ROW)
        if is_wrong.any():
            raise DataError(
                f"Row {row_ids[is_wrong][0]} was asked for, but {self.tokens.folder} has "
                f"{self.num_rows} "
                "rows. The run was begun on other data. Give it back its data, or begin a new run."
            )


def heldout_documents(
    config: TextDataConfig, *, progress: Progress | None = None
) -> Iterator[Document]:
    """Give each held-out document once; the first n are a fair sample of all files.

    Raises:
        DataError: if there are no files (66).
    """
    root = Path(config.root)
    index = index_documents(config.source, root, split=config.split, progress=progress)
    for ref in index.heldout:
        yield read_document(config.source, root, ref=ref)
