import logging
from pathlib import Path

import pytest

from phiray.data.sources.annotations import (
    Excluded,
    check_excluded,
    existing_files,
    is_coco,
    is_llava,
    read_json,
)
from phiray.errors import DataError, ExitCode
from tests.image_builders import coco_content, llava_row


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b"{", "cannot be read as JSON"),
        (b'{"id": NaN}', "NaN is not a JSON value"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"id": ' + b"1" * 5000 + b"}", "cannot be read as JSON"),
        (b'"\xff\xfe"', "cannot be read as JSON"),
    ],
)
def test_read_json_says_what_it_found(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "captions.json"
    path.write_bytes(content)

    with pytest.raises(DataError, match=match):
        read_json(path)


def test_existing_files_passes_over_those_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "b.json").touch()

    files = existing_files(tmp_path, ["a.json", "b.json"], setting="data.annotations")

    assert files == [tmp_path / "b.json"]


def test_existing_files_names_the_first_one_tried(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"None of the 2 files .*/a\.json") as caught:
        existing_files(tmp_path, ["a.json", "b.json"], setting="data.annotations")

    assert caught.value.exit_code == ExitCode.MISSING_INPUT


def test_is_llava_and_is_coco_tell_the_two_apart() -> None:
    assert is_llava([llava_row(1)])
    assert not is_coco([llava_row(1)])
    assert is_coco(coco_content())
    assert not is_llava(coco_content())
    assert not is_llava([])


def test_check_excluded_stops_above_the_share() -> None:
    excluded = [Excluded("empty caption", f"annotation {index}") for index in range(3)]

    check_excluded(excluded, num_usable=27, max_bad_fraction=0.1)
    with pytest.raises(DataError, match=r"3 of 29 records .* annotation 0 \(empty caption\)"):
        check_excluded(excluded, num_usable=26, max_bad_fraction=0.1)


def test_check_excluded_tolerates_missing_images_and_writes_into_no_progress_bar(
    caplog: pytest.LogCaptureFixture,
) -> None:
    excluded = [Excluded("missing image", str(index)) for index in range(9)]

    with caplog.at_level(logging.WARNING):
        check_excluded(excluded, num_usable=1, max_bad_fraction=0.0)

    assert not caplog.records
