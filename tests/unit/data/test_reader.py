import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phiray.data.mixture import RowRange
from phiray.data.reader import RowReader
from phiray.data.rows import Row, table_from_rows


class Letters:
    """Rows of one token, the row id."""

    num_rows = 8
    fingerprint = quick_fingerprint = "letters"
    rows_per_block = 2
    mixture = (RowRange("letters", 0, 8),)

    def estimate_lengths(self) -> npt.NDArray[np.int64]:
        return np.ones(8, dtype=np.int64)

    def read(self, row_ids: npt.NDArray[np.int64]) -> pa.Table:
        return table_from_rows([Row(row_id, [row_id], [row_id]) for row_id in row_ids.tolist()])


BLOCK = pa.table({"row_id": np.array([5, 2])})


def test_reader_gives_the_rows_of_its_block_in_order() -> None:
    rows = RowReader(Letters(), None)(BLOCK)
    assert rows["input_ids"].to_pylist() == [[5], [2]]


def test_reader_decodes_where_asked_to() -> None:
    reader = RowReader(Letters(), lambda table: table.slice(1))
    assert reader(BLOCK)["input_ids"].to_pylist() == [[2]]


def test_reader_and_row_sources_load_no_torch() -> None:
    modules = "phiray.data.reader, phiray.data.text_rows, phiray.data.image_rows"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
