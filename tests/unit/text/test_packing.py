"""Tokens as rows, counted by hand."""

import numpy as np
import pytest

from phiray.text.packing import count_rows, token_dtype


@pytest.mark.parametrize(("num_tokens", "rows"), [(0, 0), (1, 1), (8, 2), (9, 3)])
def test_rows_hold_every_token(num_tokens: int, rows: int) -> None:
    assert count_rows(num_tokens, sequence_length=4) == rows


@pytest.mark.parametrize(("vocab_size", "name"), [(50297, "uint16"), (65536, "uint16")])
def test_token_dtype_is_small_where_every_id_fits(vocab_size: int, name: str) -> None:
    assert token_dtype(vocab_size) == np.dtype(name)
    assert np.iinfo(token_dtype(vocab_size)).max >= vocab_size - 1


def test_token_dtype_grows_with_the_vocabulary() -> None:
    assert token_dtype(65537) == np.dtype("uint32")
