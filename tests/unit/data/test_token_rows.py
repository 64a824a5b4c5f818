"""Rows over several shards and streams are those of the plain concatenation."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.cache.node_cache import NodeCache
from phiray.data.token_rows import TokenRows
from phiray.errors import DataError, ExitCode
from tests.text_builders import write_token_rows

Streams = Sequence[Sequence[Sequence[int]]]
SIZES = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=4)


def plain_rows(streams: Streams, *, length: int) -> tuple[npt.NDArray[np.integer], list[int]]:
    """Concatenate each stream, fill it up with 0, cut it; return (rows, seq) and their lengths."""
    rows, lengths = [], []
    for shards in streams:
        stream = [token for shard in shards for token in shard]
        for start in range(0, len(stream), length):
            row = stream[start : start + length]
            lengths.append(len(row))
            rows.append(row + [0] * (length - len(row)))
    return np.array(rows), lengths


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_rows_of_shards_and_streams_by_hand(tmp_path: Path, dtype: str) -> None:
    streams = [[[1, 2, 3, 4, 5], [6], [8, 9, 10, 11]], [[12, 13, 14, 15, 16]]]
    rows = write_token_rows(tmp_path, streams, sequence_length=4, dtype=dtype)
    found = rows.gather(np.arange(5))
    assert found.dtype == np.dtype(dtype)
    assert found.tolist() == [
        [1, 2, 3, 4],
        [5, 6, 8, 9],
        [10, 11, 0, 0],
        [12, 13, 14, 15],
        [16, 0, 0, 0],
    ]
    assert rows.row_lengths(np.array([4, 2, 1])).tolist() == [1, 2, 4]


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, length=st.integers(1, 17), seed=st.integers(0, 9))
def test_random_rows_are_those_of_the_concatenation(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[list[int]], length: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    streams = [[random.integers(1, 60_000, n).tolist() for n in shards] for shards in sizes]
    folder = tmp_path_factory.mktemp("shards")
    rows = write_token_rows(folder, streams, sequence_length=length)
    expected, lengths = plain_rows(streams, length=length)
    row_ids = random.integers(0, len(expected), 50)
    assert rows.num_rows == len(expected)
    assert np.array_equal(rows.gather(row_ids), expected[row_ids])
    assert rows.row_lengths(row_ids).tolist() == [lengths[row] for row in row_ids]


def test_no_row_is_an_empty_array(tmp_path: Path) -> None:
    rows = write_token_rows(tmp_path, [[[1, 2]]], sequence_length=2)
    assert rows.gather(np.array([], dtype=np.int64)).shape == (0, 2)


def test_pickled_rows_read_the_same_through_the_same_cache(tmp_path: Path) -> None:
    cache = NodeCache(str(tmp_path / "node"))
    rows = write_token_rows(tmp_path, [[[1, 2, 3], [4]]], sequence_length=2, cache=cache)
    rows.gather(np.array([0, 1]))
    copy: TokenRows = pickle.loads(pickle.dumps(rows))
    assert len(list((tmp_path / "node").glob("*/*"))) == 2
    for shard in tmp_path.glob("*.bin"):
        shard.unlink()
    assert copy.gather(np.array([1, 0])).tolist() == [[3, 4], [1, 2]]


def test_shard_that_is_not_here_is_named(tmp_path: Path) -> None:
    rows = write_token_rows(tmp_path, [[[1, 2], [3, 4]]], sequence_length=2)
    (tmp_path / "0-1.bin").unlink()
    assert rows.gather(np.array([0])).tolist() == [[1, 2]]
    with pytest.raises(DataError, match=r"0-1\.bin are not on this machine") as caught:
        rows.gather(np.array([0, 1]))
    assert caught.value.exit_code == ExitCode.MISSING_INPUT
