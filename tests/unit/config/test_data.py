"""Settings of the data."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from phiray.config.base import Config
from phiray.config.data import (
    ImageDataConfig,
    SplitConfig,
    TextDataConfig,
    longest_row,
    padded_length,
)


def test_text_data_needs_a_source() -> None:
    with pytest.raises(ValidationError, match=r"source\n.*Field required"):
        TextDataConfig.model_validate({})


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_split_leaves_something_on_both_sides(fraction: float) -> None:
    with pytest.raises(ValidationError, match=r"heldout_fraction"):
        SplitConfig(heldout_fraction=fraction)


@pytest.mark.parametrize("key", ["annotations", "conversations"])
def test_image_data_refuses_an_empty_list_of_files(key: str) -> None:
    with pytest.raises(ValidationError, match=rf"{key} is empty\. Name at least one"):
        ImageDataConfig.model_validate({key: []})


def test_weights_name_files_of_conversations() -> None:
    files = ["instruct/a.json", "s3://bucket/b-2.json"]
    weights = {"a": 0.5, "b-2": 3}
    config = ImageDataConfig.model_validate({"conversations": files, "weights": weights})
    assert config.weights == {"a": 0.5, "b-2": 3.0}
    with pytest.raises(ValidationError, match=r"names 'b', which is no file .* one of a, b-2"):
        ImageDataConfig(conversations=files, weights={"b": 1.0})


def test_weights_of_text_need_files_that_are_kept_apart() -> None:
    weights = {"arxiv_sample": 2.0}
    config = TextDataConfig(source="redpajama", separate_files=True, weights=weights)
    assert config.weights == weights
    with pytest.raises(ValidationError, match="separate_files is false"):
        TextDataConfig(source="redpajama", weights=weights)
    with pytest.raises(ValidationError, match=r"weights\.a is 0\. It must be above 0"):
        TextDataConfig(source="redpajama", separate_files=True, weights={"a": 0.0})


def test_sequences_are_packed_up_to_the_longest_row() -> None:
    assert ImageDataConfig(max_length=99).max_packed_length is None
    assert ImageDataConfig(max_length=99, packing=True).max_packed_length == 99


@pytest.mark.parametrize("weight", [0, -1, 1001, float("nan")])
def test_weights_are_above_0(weight: float) -> None:
    with pytest.raises(ValidationError, match=r"weights"):
        ImageDataConfig(conversations=["a.json"], weights={"a": weight})


@pytest.mark.parametrize("kind", [ImageDataConfig, partial(TextDataConfig, source="gutenberg")])
def test_node_cache_is_an_absolute_folder(kind: Callable[..., Config]) -> None:
    assert kind(node_cache="/disk", node_cache_gb=0.5).model_dump()["node_cache"] == "/disk"
    assert kind(node_cache="~/cache").model_dump()["node_cache"] == "~/cache"
    with pytest.raises(ValidationError, match="'disk' is no absolute path"):
        kind(node_cache="disk")
    with pytest.raises(ValidationError, match=r"node_cache_gb\n.*greater than 0"):
        kind(node_cache="/disk", node_cache_gb=0)


@pytest.mark.parametrize("key", ["root", "tokenizer", "prepared"])
def test_text_is_read_by_path(key: str) -> None:
    with pytest.raises(ValidationError, match=r"'s3://bucket/data' is a URL\. Text is"):
        TextDataConfig.model_validate({"source": "gutenberg", key: "s3://bucket/data"})
    assert ImageDataConfig(root="s3://bucket/data").root == "s3://bucket/data"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("root", "ftp://me:secret@host/data"),
        ("images", "FTP://me:secret@host:21/images"),
        ("tokenizer", "https://me:sec@ret@host/tokenizer"),
        ("annotations", ["a.json", "https://:secret@host/b.json"]),
        ("conversations", ["https://me:secret@host/b.json"]),
    ],
)
def test_passwords_are_no_settings_and_are_not_repeated(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=r"URL holds user:password@") as caught:
        ImageDataConfig.model_validate({key: value})
    assert "ret@" not in caught.value.errors()[0]["msg"]


def test_a_password_of_text_is_not_repeated_either() -> None:
    with pytest.raises(ValidationError, match=r"URL holds user:password@") as caught:
        TextDataConfig(source="gutenberg", root="s3://key:secret@bucket")
    assert "secret" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "root", ["hdfs://host:8020/a@b", "github://owner:repository@main/data", "s3://key@bucket/a:b@c"]
)
def test_urls_without_a_password_are_taken(root: str) -> None:
    assert ImageDataConfig(root=root).root == root


def test_longest_row_is_the_longest_whose_padding_fits() -> None:
    assert [padded_length(length) for length in (1, 8, 9)] == [8, 8, 16]
    for positions in (8, 15, 16, 100):
        assert padded_length(longest_row(positions)) <= positions
        assert padded_length(longest_row(positions) + 1) > positions


def test_features_lie_below_the_root_unless_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert ImageDataConfig().feature_folder is None
    for place, folder in {
        "features": "/data/features",
        "/disk/features": "/disk/features",
        "~/features": "/home/me/features",
    }.items():
        assert ImageDataConfig(root="/data", feature_cache=place).feature_folder == Path(folder)
    url = "s3://bucket/data"
    assert ImageDataConfig(root=url, feature_cache="/disk").feature_folder == Path("/disk")


@pytest.mark.parametrize(
    ("root", "place"), [("s3://bucket/data", "features"), ("/data", "s3://bucket/features")]
)
def test_features_are_kept_in_a_folder_and_at_no_url(root: str, place: str) -> None:
    with pytest.raises(ValidationError, match=f"feature_cache is '{place}', which would lie at a"):
        ImageDataConfig(root=root, feature_cache=place)
