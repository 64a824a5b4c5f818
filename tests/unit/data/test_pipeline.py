import numpy as np
import pytest

from phiray.data.pipeline import (
    STORE_FRACTION,
    index_blocks,
    resolve_decode,
    store_share,
)


@pytest.mark.parametrize(
    ("setting", "use_gpu", "has_reader_nodes", "expected"),
    [
        ("auto", False, False, "worker"),
        ("auto", True, False, "tasks"),
        ("auto", False, True, "tasks"),
        ("worker", True, True, "worker"),
        ("tasks", False, False, "tasks"),
    ],
)
def test_resolve_decode_keeps_cpu_work_off_gpu_nodes_and_leaves_it_to_reader_nodes(
    setting: str, use_gpu: bool, has_reader_nodes: bool, expected: str
) -> None:
    decode = resolve_decode(
        setting,  # type: ignore[arg-type]  # plain text here
        use_gpu=use_gpu,
        has_reader_nodes=has_reader_nodes,
    )

    assert decode == expected


def test_index_blocks_keeps_every_row_once_and_in_order() -> None:
    row_ids = np.random.default_rng(0).permutation(2 * 100 + 1)

    blocks = index_blocks(row_ids, rows_per_block=100)

    assert [len(block) for block in blocks] == [100, 100, 1]
    assert [i for block in blocks for i in block["row_id"].to_pylist()] == row_ids.tolist()


@pytest.mark.parametrize("num_pipelines", [1, 3, 16])
def test_store_share_of_all_pipelines_stays_within_the_store(num_pipelines: int) -> None:
    store_bytes = 500.0 * 1024**2  # what Ray tells as a float

    share = store_share(store_bytes, num_pipelines=num_pipelines)

    assert share > 0
    assert num_pipelines * share <= STORE_FRACTION * store_bytes < store_bytes
