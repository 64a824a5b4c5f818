from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phiray.data.check.captions import CaptionCheck
from phiray.data.check.report import CheckReport
from phiray.data.sources.coco import read_coco_captions
from phiray.errors import DataError
from phiray.images.paths import ImageFolder
from tests.image_builders import coco_content, file_name, llava_row, write_images, write_json


def check(files: list[Path], folder: ImageFolder, *, is_partial: bool = False) -> CheckReport:
    report = CheckReport()
    CaptionCheck(folder, report, is_partial=is_partial).read(files, progress=None)
    return report


def counts(report: CheckReport) -> dict[str, int]:
    seen = report.findings | report.notes
    return {kind: tally.count for kind, tally in seen.items() if "outer white" not in kind}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    return ImageFolder.scan(write_images(tmp_path_factory.mktemp("images"), num_images=4))


def test_check_counts_each_kind_with_its_place(tmp_path: Path, folder: ImageFolder) -> None:
    content = coco_content(num_images=4)
    content["images"] += [
        {"id": 1, "file_name": file_name(1)},
        {"id": "7", "file_name": file_name(7)},
        {"id": 8, "file_name": file_name(9)},
        {"id": 9, "file_name": "/etc/secret.jpg"},
        {"id": 10, "file_name": file_name(10)},
        {"id": 2**64, "file_name": file_name(2)},
    ]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 3]
    captions = (" \n", "A box \ud83d.", "An <image>", "<|endoftext|>", " Box 1 at 0. ")
    content["annotations"] += [{"image_id": 1, "caption": caption} for caption in captions]
    content["annotations"] += [
        {"image_id": 4711, "caption": "Nobody."},
        {"image_id": 2, "bbox": []},
    ]

    report = check([write_json(tmp_path / "captions.json", content)], folder)

    assert counts(report) == {
        "duplicate id": 1,
        "bad record": 3,
        "id mismatch": 1,
        "unsafe name": 1,
        "missing image": 1,
        "empty caption": 1,
        "not Unicode": 1,
        "unknown image": 1,
        "no captions": 4,  # of image 3, and of three that were added
        "caption with a special token": 2,
        "duplicate caption": 1,
    }
    assert report.findings["unsafe name"].places[0].startswith("captions.json images[7]: ")
    assert report.findings["empty caption"].places == ["captions.json annotations[6]: 0 characters"]
    assert report.notes["duplicate caption"].places == ["captions.json annotations[10]"]
    assert report.totals == {"image records": 10, "captions": 13}


def test_check_of_a_part_notes_missing_images(tmp_path: Path, folder: ImageFolder) -> None:
    file = write_json(tmp_path / "captions.json", coco_content(num_images=6))

    assert check([file], folder).findings["missing image"].unit == "image records"
    assert check([file], folder, is_partial=True).findings == {}


def test_check_finds_captions_that_stand_in_two_files(tmp_path: Path, folder: ImageFolder) -> None:
    files = [
        write_json(tmp_path / name, coco_content(num_images=2)) for name in ("a.json", "b.json")
    ]

    places = check(files, folder).notes["duplicate caption"].places

    assert places == [f"b.json annotations[{row}]" for row in range(4)]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([llava_row(1)], "holds LLaVA conversations"),
        ({"images": []}, "0 usable images and 0 captions"),
        ([], "0 usable images"),
        ([[1]], "0 usable images"),
    ],
)
def test_check_names_files_of_another_kind(
    tmp_path: Path, folder: ImageFolder, content: object, match: str
) -> None:
    report = check([write_json(tmp_path / "captions.json", content)], folder)

    assert report.verdict(1.0) == ["unusable file: 1, and one is too many"]
    assert match in report.findings["unusable file"].places[0]


BAD_CAPTIONS = ("unknown image", "empty caption", "not Unicode")
"""Reasons of which one record may have two: the two name another one of them first."""


def test_check_names_a_file_that_cannot_be_read(tmp_path: Path, folder: ImageFolder) -> None:
    (tmp_path / "captions.json").mkdir()

    report = check([tmp_path / "captions.json"], folder)

    assert report.findings["unusable file"].places == [
        f"{tmp_path / 'captions.json'}: Is a directory"
    ]


LOOKED_AT_ALL_THE_SAME = {
    *("id mismatch", "unsafe name", "missing image", "duplicate id", "unknown image")
}
"""Where an image is left out, the check still looks at its captions."""
ODD: st.SearchStrategy[object] = st.one_of(
    st.none(), st.integers(-3, 12), st.text(max_size=3), st.floats(), st.just([])
)
IMAGE = st.one_of(
    ODD,
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.integers(1, 4) | ODD,
            "file_name": st.sampled_from(
                [*map(file_name, range(1, 5)), "../x.jpg", "/x.jpg", "h://x"]
            )
            | ODD,
        },
    ),
)
CAPTION = st.one_of(
    ODD,
    st.fixed_dictionaries(
        {},
        optional={
            "image_id": st.integers(1, 5) | ODD,
            "caption": st.sampled_from(["A box.", " A box.", "", " ", "<image>", "\ud800"]) | ODD,
        },
    ),
)


@settings(deadline=None, max_examples=200)
@given(images=st.lists(IMAGE, max_size=6), annotations=st.lists(CAPTION, max_size=8))
def test_check_refuses_what_training_leaves_out(
    tmp_path_factory: pytest.TempPathFactory,
    folder: ImageFolder,
    images: list[object],
    annotations: list[object],
) -> None:
    """Reason by reason: the two never disagree, and neither meets an error that it does not know.

    Sound records stand in front, so that there is always something to train on. What training no
    longer looks at, once it has left an image out, is its captions.
    """
    content: dict[str, list[object]] = {
        "images": [*coco_content(num_images=4)["images"], *images],
        "annotations": [*coco_content(num_images=4)["annotations"], *annotations],
    }
    file = write_json(tmp_path_factory.mktemp("fuzz") / "captions.json", content)

    try:
        trained = read_coco_captions([file], folder)
    except DataError:  # such as NaN, which is no JSON
        assert check([file], folder).findings["unusable file"].count == 1
        return
    report = check([file], folder)

    left_out = Counter(item.reason for item in trained.excluded)
    found = Counter(counts(report))
    is_like_training = not left_out.keys() & LOOKED_AT_ALL_THE_SAME
    for reasons in (left_out, found):
        reasons["bad caption"] = sum(reasons.pop(kind, 0) for kind in BAD_CAPTIONS)
        reasons.pop("no captions", None)
    found.pop("caption with a special token", None)
    assert all(found[kind] >= number for kind, number in left_out.items())
    assert found == left_out or not is_like_training
