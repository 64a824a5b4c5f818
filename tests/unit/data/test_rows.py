"""The table form of rows."""

import pyarrow as pa

from phiray.data.rows import (
    FILLER,
    ROW_SCHEMA,
    Row,
    bad_row,
    join_fingerprints,
    table_from_rows,
    training_fingerprint_of,
)
from phiray.types import FILLER_ROW


def test_table_keeps_rows_as_they_are() -> None:
    table = table_from_rows(
        [Row(7, [1, 2], [-100, 2], image=b"jpeg"), Row(3, [4], [4], image_features=b"bf16")]
    )
    assert table.to_pylist() == [
        {
            "row_id": 7,
            "input_ids": [1, 2],
            "labels": [-100, 2],
            "image": b"jpeg",
            "image_features": None,
            "error": None,
            "detail": None,
        },
        {
            "row_id": 3,
            "input_ids": [4],
            "labels": [4],
            "image": None,
            "image_features": b"bf16",
            "error": None,
            "detail": None,
        },
    ]


def test_bad_and_filler_rows_have_no_tokens() -> None:
    bad, filler = table_from_rows(
        [bad_row(5, reason="missing", detail="a.jpg"), FILLER]
    ).to_pylist()
    assert (bad["row_id"], bad["error"], bad["detail"]) == (5, "missing", "a.jpg")
    assert (filler["row_id"], filler["error"]) == (FILLER_ROW, None)
    assert bad["input_ids"] == filler["input_ids"] == []


def test_tables_of_different_rows_have_one_schema() -> None:
    tables = [table_from_rows([]), table_from_rows([FILLER]), table_from_rows([Row(0, [1], [1])])]
    assert pa.concat_tables(tables).schema == ROW_SCHEMA


def test_the_training_rows_fingerprint_is_found_with_and_without_one_of_validation_rows() -> None:
    assert training_fingerprint_of(join_fingerprints(["abc", "def"])) == "abc"
    assert training_fingerprint_of(join_fingerprints(["abc"])) == "abc"
