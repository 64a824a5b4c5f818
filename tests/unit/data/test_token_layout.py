"""Streams and shards as rows, worked out by hand."""

import numpy as np
import pytest

from phiray.data.token_layout import (
    TokenLayout,
    TokenShard,
    TokenStream,
    streams_from_json,
    streams_to_json,
)
from phiray.errors import DataError

STREAMS = (
    TokenStream("a.jsonl", (TokenShard("0.bin", 5, "x"), TokenShard("1.bin", 2, "y"))),
    TokenStream("b.jsonl", (TokenShard("2.bin", 8, "z"),)),
)
"""Rows of four: 7 tokens fill two, the last with three; 8 fill two."""
LAYOUT = TokenLayout(STREAMS, 4)


def test_each_stream_begins_a_row() -> None:
    assert LAYOUT.first_rows().tolist() == [0, 2, 4]
    assert (LAYOUT.num_tokens, LAYOUT.num_rows, LAYOUT.num_padding) == (15, 4, 1)
    assert LAYOUT.row_ranges() == {"a.jsonl": range(2), "b.jsonl": range(2, 4)}


def test_positions_go_on_from_shard_to_shard_and_skip_what_was_filled_up() -> None:
    assert LAYOUT.shard_positions().tolist() == [0, 5, 8]
    assert LAYOUT.stream_ends().tolist() == [7, 16]
    assert [shard.file for shard in LAYOUT.shards] == ["0.bin", "1.bin", "2.bin"]


def test_no_stream_has_no_rows() -> None:
    empty = TokenLayout((), 4)
    assert (empty.num_rows, empty.num_tokens) == (0, 0)
    assert empty.shard_positions().dtype == np.dtype(np.int64)


def test_streams_are_read_as_they_were_written() -> None:
    assert streams_from_json(streams_to_json(STREAMS)) == STREAMS


@pytest.mark.parametrize(
    "text", ["{", "[1]", '[{"source": ""}]', '[{"source": "", "shards": [1]}]']
)
def test_other_lists_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="list of token shards cannot be read"):
        streams_from_json(text)
