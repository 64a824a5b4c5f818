from collections import Counter
from pathlib import Path

import pytest

from phiray.data.sources.coco import read_coco_captions
from phiray.errors import DataError, ExitCode
from phiray.images.paths import ImageFolder
from tests.image_builders import coco_content, file_name, llava_row, write_images, write_json


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    return ImageFolder.scan(write_images(tmp_path, num_images=3))


def reasons(tmp_path: Path, folder: ImageFolder, content: object) -> dict[str, int]:
    found = read_coco_captions([write_json(tmp_path / "captions.json", content)], folder)
    return dict(Counter(item.reason for item in found.excluded))


def test_read_coco_captions_joins_and_strips(tmp_path: Path, folder: ImageFolder) -> None:
    file = write_json(tmp_path / "captions.json", coco_content(num_images=3))

    found = read_coco_captions([file], folder)

    assert [image.image_id for image in found.images] == [1, 2, 3]
    assert found.images[1].captions == ("Box 2 at 0.", "Box 2 at 1.")
    assert found.images[1].path == folder.paths[2]
    assert not found.excluded


def test_read_coco_captions_takes_any_annotation_id(tmp_path: Path, folder: ImageFolder) -> None:
    content = coco_content(num_images=1)
    for annotation, name in zip(content["annotations"], ([1], {"a": 1}), strict=True):
        annotation["id"] = name
    found = read_coco_captions([write_json(tmp_path / "captions.json", content)], folder)
    assert found.images[0].captions == ("Box 1 at 0.", "Box 1 at 1.")


def test_read_coco_captions_joins_the_years_of_one_image(
    tmp_path: Path, folder: ImageFolder
) -> None:
    older = coco_content(num_images=1)
    older["images"][0]["file_name"] = "COCO_val2014_000000000001.jpg"
    older["annotations"][0]["caption"] = "Another view."
    files = [
        write_json(tmp_path / "a.json", coco_content(num_images=1)),
        write_json(tmp_path / "b.json", older),
    ]

    found = read_coco_captions(files, folder)

    assert found.images[0].captions == ("Box 1 at 0.", "Box 1 at 1.", "Another view.")
    assert [item.reason for item in found.excluded] == ["duplicate caption"]


def test_read_coco_captions_says_why_records_are_left_out(
    tmp_path: Path, folder: ImageFolder
) -> None:
    content = coco_content(num_images=3)
    content["images"] += [
        {"id": 1, "file_name": file_name(1)},
        {"id": "7", "file_name": file_name(7)},
        {"id": 8, "file_name": file_name(9)},
        {"id": 9, "file_name": "../../secret.jpg"},
        {"id": 10, "file_name": file_name(10)},
    ]
    content["annotations"] += [
        {"id": 97, "image_id": 1, "caption": "A box \ud83d."},
        {"id": 98, "image_id": 1, "caption": " \n"},
        {"id": 99, "image_id": 4711, "caption": "Nobody."},
        {"id": 100, "image_id": 1, "bbox": [0, 0, 1, 1]},
    ]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 3]

    assert reasons(tmp_path, folder, content) == {
        "duplicate id": 1,
        "bad record": 2,
        "id mismatch": 1,
        "unsafe name": 1,
        "missing image": 1,
        "not Unicode": 1,
        "empty caption": 1,
        "unknown image": 1,
        "no captions": 1,
    }


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../kitten.jpg", "it does not stay inside"),
        ("/etc/passwd.jpg", "it does not stay inside"),
        ("http://images.cocodataset.org/val2017/kitten.jpg", "it is a URL"),
        ("link.jpg", "it is a link out of the folder"),
        ("linked/kitten.jpg", "it is a link out of the folder"),
        ("000000000009.jpg", "is a link out of the folder"),
        ("a\\b.jpg", "it does not stay inside"),
    ],
)
def test_read_coco_captions_refuses_names_that_leave_with_their_row(
    tmp_path: Path, name: str, why: str
) -> None:
    images = write_images(tmp_path, num_images=3)
    for secret in ("secret", "other"):
        (tmp_path / secret).mkdir()
        (tmp_path / secret / "kitten.jpg").write_bytes(b"secret")
    for link in ("link.jpg", "000000000009.jpg"):
        (images / link).symlink_to(tmp_path / "secret" / "kitten.jpg")
    (images / "linked").symlink_to(tmp_path / "other")
    content = coco_content(num_images=3)
    content["images"].append({"id": 9, "file_name": name})
    file = write_json(tmp_path / "captions.json", content)

    found = read_coco_captions([file], ImageFolder.scan(images))

    assert [image.image_id for image in found.images] == [1, 2, 3]
    (refused,) = found.excluded
    assert refused.reason == "unsafe name"
    assert refused.detail.startswith("captions.json images[3]: ")
    assert why in refused.detail


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([llava_row(1)], "holds LLaVA conversations"),
        ({"rows": []}, "no `images` and `annotations`"),
        ({**coco_content(), "images": []}, "0 usable images"),
        ({**coco_content(), "annotations": [{"image_id": 1, "bbox": []}]}, "and 0 captions"),
        ([], "no `images` and `annotations`"),
    ],
)
def test_read_coco_captions_refuses_other_files(
    tmp_path: Path, folder: ImageFolder, content: object, match: str
) -> None:
    with pytest.raises(DataError, match=match) as caught:
        reasons(tmp_path, folder, content)

    assert caught.value.exit_code == ExitCode.BAD_DATA


def test_read_coco_captions_names_the_first_image_tried(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    folder = ImageFolder.scan(tmp_path / "images")

    with pytest.raises(DataError, match=r"first one tried is .*000000000001\.jpg") as caught:
        reasons(tmp_path, folder, coco_content())

    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_read_coco_captions_reads_the_real_samples(shared_data: Path) -> None:
    files = sorted((shared_data / "coco" / "annotations").glob("captions_*20??.json"))
    folder = ImageFolder.scan(shared_data / "coco" / "images")

    found = read_coco_captions(files, folder)

    assert len(files) == 3
    assert len(found.images) == 395
    assert sum(len(image.captions) for image in found.images) + len(found.excluded) == 1976
    assert all(text == text.strip() for image in found.images for text in image.captions)
