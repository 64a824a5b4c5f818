import errno
import io
from pathlib import Path

import pytest
from PIL import Image

from phiray.data.picture_sample import SAMPLE_SIZE, check_pictures
from phiray.errors import DataError, ExitCode


def write_pictures(folder: Path, count: int, *, every_bad: int | None = None) -> list[Path]:
    """Write pictures, of which every so many-th is cut off."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(buffer, "JPEG")
    data = buffer.getvalue()
    paths = [folder / f"{number}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        is_bad = every_bad is not None and number % every_bad == 0
        path.write_bytes(data[:300] if is_bad else data)
    return paths


def test_whole_pictures_pass(tmp_path: Path) -> None:
    check_pictures(write_pictures(tmp_path, 3), max_bad_fraction=0.0)


def test_of_a_few_pictures_no_more_may_be_bad_than_the_run_allows(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 20, every_bad=20)
    paths[1].unlink()
    match = r"2 of 20 pictures .*1 missing image.*max_bad_fraction=0\.09"
    with pytest.raises(DataError, match=match) as caught:
        check_pictures(paths, max_bad_fraction=0.09)
    assert int(caught.value.exit_code) == 65
    check_pictures(paths, max_bad_fraction=0.1)


def test_one_bad_picture_of_a_few_is_found_before_the_run_would_find_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 20 pictures"):
        check_pictures(write_pictures(tmp_path, 20, every_bad=20), max_bad_fraction=0.01)


def test_a_tenth_of_many_is_found_by_a_sample_and_a_hundredth_is_not(tmp_path: Path) -> None:
    for name, every, is_refused in (("tenth", 10, True), ("hundredth", 100, False)):
        (tmp_path / name).mkdir()
        paths = write_pictures(tmp_path / name, 5 * SAMPLE_SIZE, every_bad=every)
        if is_refused:
            with pytest.raises(DataError, match=f"of {SAMPLE_SIZE} pictures"):
                check_pictures(paths, max_bad_fraction=0.01)
        else:
            check_pictures(paths, max_bad_fraction=0.01)


def test_pictures_that_may_not_be_read_are_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    paths = write_pictures(tmp_path, 3)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    match = r"3 of 3 pictures .*3 unreadable image \(Permission denied\)"
    with pytest.raises(DataError, match=match) as caught:
        check_pictures(paths, max_bad_fraction=0.5)
    assert caught.value.exit_code == ExitCode.PERMISSION
