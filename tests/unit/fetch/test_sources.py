import re
from urllib.parse import urlsplit

import httpx
import pytest

from phiray.config.data import ImageDataConfig
from phiray.data.sources import gutenberg, redpajama
from phiray.fetch.client import is_within
from phiray.fetch.sources import COCO, GUTENBERG, INSTRUCT, LICENCES, NAMES, REDPAJAMA


def test_every_data_set_has_a_licence() -> None:
    assert tuple(LICENCES) == NAMES


@pytest.mark.parametrize(
    "places", [COCO.places, INSTRUCT.places, GUTENBERG.places, REDPAJAMA.places]
)
def test_every_place_is_https_and_more_than_a_top_level_domain(places: tuple[str, ...]) -> None:
    for place in places:
        parts = urlsplit(place)
        assert parts.scheme == "https"
        assert parts.path.endswith("/")
        assert (parts.hostname or "").removeprefix("*.").count(".") >= 1


def test_every_url_lies_within_its_places() -> None:
    archives = [COCO.annotations, *COCO.images]
    urls = [archive.file.url for archive in archives]
    urls += [archive.member_url for archive in archives if archive.member_url is not None]
    assert all(is_within(httpx.URL(url), COCO.places[0]) for url in [*urls, COCO.image_url])
    assert is_within(httpx.URL(f"{INSTRUCT.endpoint}/api"), INSTRUCT.places[0])
    assert is_within(httpx.URL(GUTENBERG.mirror), GUTENBERG.places[0])


def test_archives_have_size_and_sha256() -> None:
    for archive in (COCO.annotations, *COCO.images):
        assert archive.file.num_bytes == archive.file.max_bytes
        assert re.fullmatch("[0-9a-f]{64}", archive.file.sha256 or "")
        assert archive.file.num_bytes is not None
        assert archive.max_unpacked_bytes < 3 * archive.file.num_bytes


@pytest.mark.parametrize(
    ("number", "name", "expected"),
    [
        (0, "annotations/captions_train2017.json", "annotations/captions_train2017.json"),
        (0, "annotations/captions_val2017.json", "annotations/captions_val2017.json"),
        (0, "annotations/instances_train2017.json", None),
        (0, "annotations/../captions_train2017.json", None),
        (1, "val2017/000000000139.jpg", "images/val2017/000000000139.jpg"),
        (2, "train2017/000000000009.jpg", "images/train2017/000000000009.jpg"),
        (2, "train2017/", None),
        (2, "train2017/deep/000000000009.jpg", None),
        (2, "train2017/9.jpg", None),
    ],
)
def test_members_of_archives_go_where_phiray_reads(
    number: int, name: str, expected: str | None
) -> None:
    archive = (COCO.annotations, *COCO.images)[number]
    found = archive.members.fullmatch(name)
    assert (None if found is None else f"{archive.folder}/{found['name']}") == expected


def test_layout_is_that_of_the_settings() -> None:
    settings = ImageDataConfig()
    assert {f"coco/{COCO.captions}"} < set(settings.annotations)
    assert all(f"coco/{a.folder}".startswith(f"{settings.images}/") for a in COCO.images)
    assert COCO.image_folder == COCO.images[1].folder
    instruct = [name for name in settings.conversations if INSTRUCT.files.fullmatch(name[9:])]
    assert instruct == ["instruct/llava_instruct_150k.json"]
    assert gutenberg.PATTERN == "gutenberg/books/*.txt"
    assert redpajama.PATTERN == "redpajama/*.jsonl"


@pytest.mark.parametrize(
    ("name", "is_wanted"),
    [
        ("arxiv_sample.jsonl", True),
        ("cc_2023-06_sample.jsonl", True),
        ("README.md", False),
        ("RedPajama-Data-1T-Sample.py", False),
        ("data/x.jsonl", False),
        ("../x.jsonl", False),
        (".hidden.jsonl", False),
    ],
)
def test_files_of_redpajama_are_rows_at_the_top(name: str, is_wanted: bool) -> None:
    assert (REDPAJAMA.files.fullmatch(name) is not None) == is_wanted
