import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from phiray.data.cache.node_cache import NodeCache
from phiray.data.feature_view import (
    Fault,
    FeatureList,
    FeatureView,
    Place,
    Shard,
    features_from_table,
    name_of,
)
from phiray.data.rows import FILLER, Row, table_from_rows
from phiray.errors import DataError, ExitCode
from phiray.features.known_files import KnownFiles
from phiray.storage import UrlPath
from phiray.text.prompts import TokenRow

SHAPE = (2, 3)
FOLDER = Path("/images")
TOKENS = TokenRow([5, 6, 7], [-100, 6, 7])
ROWS = np.arange(18, dtype="<i2").reshape(3, *SHAPE)


def write_list(folder: Path, *, rows: np.ndarray = ROWS) -> Path:
    """Write a shard of three pictures, and a list of two of them and of two bad ones."""
    (folder / "shards").mkdir(parents=True)
    (folder / "views").mkdir()
    shard = folder / "shards" / "s.bin"
    shard.write_bytes(rows.tobytes())
    listed = FeatureList(
        SHAPE,
        (Shard("shards/s.bin", 3, KnownFiles(folder / "known").hash_of(shard)),),
        {
            "a.jpg": Place(0, 2),
            "b/c.jpg": Place(0, 0),
            "gone.jpg": Fault("missing image", "No such file", is_file=True),
            "bad.jpg": Fault("broken image", "cut", is_file=False),
        },
    )
    file = folder / "views" / f"{listed.digest}.json"
    file.write_text(listed.to_json())
    return file


def read(view: FeatureView, name: str) -> Row:
    return view.row(4, TOKENS, FOLDER / name, folder=FOLDER)


def test_a_list_comes_back_from_json(tmp_path: Path) -> None:
    text = write_list(tmp_path).read_text()
    listed = FeatureList.from_json(text)
    assert listed.to_json() == text
    assert listed.pictures["b/c.jpg"] == Place(0, 0)


@pytest.mark.parametrize("with_node_cache", [False, True])
def test_rows_hold_the_features_of_their_picture(tmp_path: Path, with_node_cache: bool) -> None:
    node = NodeCache(str(tmp_path / "node")) if with_node_cache else NodeCache()
    view = FeatureView(write_list(tmp_path / "cache"), cache=node)
    assert view.shape == SHAPE
    expected = {"a.jpg": ROWS[2], "b/c.jpg": ROWS[0]}
    for name, features in expected.items():
        row = read(view, name)
        assert (row.row_id, row.input_ids, row.labels) == (4, TOKENS.input_ids, TOKENS.labels)
        assert row.image_features == features.tobytes()
        assert (row.image, row.error) == (None, None)


def test_bad_pictures_say_what_they_would_without_the_cache(tmp_path: Path) -> None:
    view = FeatureView(write_list(tmp_path), cache=NodeCache())
    gone, bad = read(view, "gone.jpg"), read(view, "bad.jpg")
    assert (gone.error, gone.detail) == ("missing image", "/images/gone.jpg: No such file")
    assert (bad.error, bad.detail) == ("broken image", "cut")
    assert gone.image_features is bad.image_features is None


def test_a_picture_that_is_not_in_the_list_is_no_row(tmp_path: Path) -> None:
    view = FeatureView(write_list(tmp_path), cache=NodeCache())
    with pytest.raises(DataError, match=r"/images/new\.jpg has no features"):
        read(view, "new.jpg")


def test_a_pickled_view_is_its_path(tmp_path: Path) -> None:
    view = FeatureView(write_list(tmp_path), cache=NodeCache())
    read(view, "a.jpg")
    data = pickle.dumps(view)
    assert len(data) < 500
    assert read(pickle.loads(data), "a.jpg").image_features == ROWS[2].tobytes()


def test_a_list_that_was_changed_is_refused(tmp_path: Path) -> None:
    file = write_list(tmp_path)
    content = json.loads(file.read_text())
    content["pictures"]["a.jpg"] = [0, 1]
    file.write_text(json.dumps(content, sort_keys=True))
    with pytest.raises(DataError, match="was changed: its name is no longer its hash"):
        FeatureView(file, cache=NodeCache())


def test_what_is_not_on_this_node_says_so(tmp_path: Path) -> None:
    file = write_list(tmp_path)
    view = FeatureView(file, cache=NodeCache())
    shutil.rmtree(tmp_path / "shards")
    for look in (
        lambda: read(view, "a.jpg"),
        lambda: FeatureView(tmp_path / "x", cache=NodeCache()),
    ):
        with pytest.raises(DataError, match=r"is missing on node .*data\.feature_cache") as caught:
            look()
        assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_a_shard_that_was_cut_is_refused(tmp_path: Path) -> None:
    view = FeatureView(write_list(tmp_path), cache=NodeCache())
    (tmp_path / "shards" / "s.bin").write_bytes(ROWS.tobytes()[:-4])
    with pytest.raises(DataError, match=r"s\.bin has 32 bytes\. Expected 36"):
        read(view, "a.jpg")


def test_a_nodes_cache_refuses_a_shard_of_other_bytes(tmp_path: Path) -> None:
    file = write_list(tmp_path / "cache")
    (tmp_path / "cache" / "shards" / "s.bin").write_bytes(ROWS[::-1].tobytes())
    view = FeatureView(file, cache=NodeCache(str(tmp_path / "node")))
    with pytest.raises(DataError, match="is not the file that its manifest names"):
        read(view, "a.jpg")


def test_large_features_travel_in_small_blocks(tmp_path: Path) -> None:
    view = FeatureView(write_list(tmp_path), cache=NodeCache())
    assert view.rows_per_block(at_most=128) == 128
    view.shape = (576, 1024)
    assert view.rows_per_block(at_most=128) == 16
    view.shape = (4096, 4096)
    assert view.rows_per_block(at_most=128) == 1


def test_names_are_those_below_the_folder() -> None:
    assert name_of(Path("/data/images/x/1.jpg"), Path("/data/images")) == "x/1.jpg"
    assert name_of(UrlPath("s3://b/images/1.jpg"), UrlPath("s3://b/images/")) == "1.jpg"
    assert name_of(Path("/elsewhere/1.jpg"), Path("/data/images")) == "/elsewhere/1.jpg"


def test_features_are_stacked_in_the_order_of_the_rows() -> None:
    rows = [
        Row(0, [1], [1], image_features=ROWS[1].tobytes()),
        FILLER,
        Row(2, [1], [1], image_features=ROWS[0].tobytes()),
    ]
    found = features_from_table(table_from_rows(rows), shape=SHAPE)
    assert found.tolist() == ROWS[[1, 0]].tolist()
    assert features_from_table(table_from_rows([FILLER]), shape=SHAPE).shape == (0, *SHAPE)
