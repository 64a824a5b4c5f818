"""Rows cut from a stream, worked out by hand."""

import numpy as np
import pytest

from phiray.text.packing import Packing, token_dtype


@pytest.mark.parametrize(
    ("num_tokens", "num_rows", "num_padding"), [(1, 1, 3), (4, 1, 0), (5, 2, 3), (8, 2, 0)]
)
def test_packing_rounds_up_to_whole_rows(num_tokens: int, num_rows: int, num_padding: int) -> None:
    packing = Packing(num_tokens, sequence_length=4)
    assert (packing.num_rows, packing.num_padding) == (num_rows, num_padding)


def test_only_the_last_row_is_short() -> None:
    lengths = Packing(10, sequence_length=4).row_lengths(np.array([2, 0, 1]))
    assert lengths.tolist() == [2, 4, 4]


@pytest.mark.parametrize(("vocab_size", "name"), [(50297, "uint16"), (65536, "uint16")])
def test_token_dtype_is_small_where_every_id_fits(vocab_size: int, name: str) -> None:
    assert token_dtype(vocab_size) == np.dtype(name)
    assert np.iinfo(token_dtype(vocab_size)).max >= vocab_size - 1


def test_token_dtype_grows_with_the_vocabulary() -> None:
    assert token_dtype(65537) == np.dtype("uint32")
