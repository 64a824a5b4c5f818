"""Documents cut into shards by their sizes alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phiray.data.prepare import cut
from phiray.data.prepare.cut import MAX_BYTES, MIN_BYTES, NUM_SHARDS, cut_streams
from phiray.data.sources.documents import DocumentRef


def refs(*sizes: int, path: str = "a") -> list[DocumentRef]:
    return [DocumentRef(f"{path}{n}", path, n, size) for n, size in enumerate(sizes)]


def sizes_of(documents: list[DocumentRef], most_bytes: int | None = None) -> list[int]:
    (stream,) = cut_streams(documents, separate_files=False, most_bytes=most_bytes)
    assert [task.number for task in stream.tasks] == list(range(len(stream.tasks)))
    assert [document for task in stream.tasks for document in task.documents] == documents
    return [task.num_bytes for task in stream.tasks]


def test_small_data_becomes_shards_of_the_least_size() -> None:
    third = MIN_BYTES // 3 + 1
    assert sizes_of(refs(*[third] * 7)) == [3 * third, 3 * third, third]


def test_much_data_becomes_so_many_shards() -> None:
    assert sizes_of(refs(*[MIN_BYTES] * (4 * NUM_SHARDS))) == [4 * MIN_BYTES] * NUM_SHARDS


def test_shards_of_huge_data_do_not_grow_further() -> None:
    found = sizes_of(refs(*[MAX_BYTES // 2] * (4 * NUM_SHARDS)))
    assert found == [MAX_BYTES] * (2 * NUM_SHARDS)


def test_where_little_of_much_data_is_needed_shards_are_small() -> None:
    documents = refs(*[MIN_BYTES] * (4 * NUM_SHARDS))
    assert sizes_of(documents, most_bytes=MIN_BYTES) == [MIN_BYTES] * (4 * NUM_SHARDS)


def test_document_longer_than_a_shard_is_one() -> None:
    assert sizes_of(refs(9 * MIN_BYTES, 1)) == [9 * MIN_BYTES, 1]


def test_files_are_kept_apart_where_asked_in_the_order_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cut, "MIN_BYTES", 4)
    mixed = [refs(3, 3, path="b"), refs(3, 3, path="a")]
    documents = [document for pair in zip(*mixed, strict=True) for document in pair]
    streams = cut_streams(documents, separate_files=True, most_bytes=None)
    assert [stream.source for stream in streams] == ["a", "b"]
    keys = [[d.key for task in stream.tasks for d in task.documents] for stream in streams]
    assert keys == [["a0", "a1"], ["b0", "b1"]]
    assert [task.number for stream in streams for task in stream.tasks] == [0, 1]


@given(st.lists(st.integers(1, 3 * MIN_BYTES), min_size=1, max_size=30))
def test_every_document_is_in_one_shard_in_its_place(sizes: list[int]) -> None:
    assert sum(sizes_of(refs(*sizes))) == sum(sizes)
