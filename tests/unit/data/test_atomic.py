"""A folder that exists whole or not at all."""

import errno
import fcntl
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phiray.data.atomic import error_from_write, resumable_folder, whole_folder
from phiray.errors import DataError, ExitCode


def test_folder_appears_only_at_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "new"
    with whole_folder(folder, setting="data.prepared") as partial:
        (partial / "a").write_text("a")
        assert not folder.exists()
    assert (folder / "a").read_text() == "a"
    assert [path.name for path in folder.parent.iterdir()] == ["new"]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def write_half() -> None:
        with whole_folder(tmp_path / "new", setting="data.prepared") as partial:
            (partial / "a").write_text("a")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_folder_of_another_process_stays(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with whole_folder(folder, setting="data.prepared") as partial:
        (partial / "a").write_text("mine")
        folder.mkdir()
        (folder / "a").write_text("theirs")
    assert (folder / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_folder_that_is_replaced_is_whole_at_every_moment(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for text in ("old", "young"):
        with whole_folder(folder, setting=None, replace=True) as partial:
            (partial / "a").write_text(text)
            assert not folder.exists() or (folder / "a").read_text() == "old"
        assert (folder / "a").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_folder_that_is_replaced_stays_after_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a").write_text("old")
    with (
        pytest.raises(DataError, match=r"why\. Expected room .* Make both\.$"),
        whole_folder(folder, setting=None, replace=True),
    ):
        raise OSError(errno.ENOSPC, "why")
    assert (folder / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_folder_has_the_rights_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with whole_folder(tmp_path / "new", setting=None):
        pass
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        (errno.ENOSPC, ExitCode.IO),
        (errno.EACCES, ExitCode.PERMISSION),
        (errno.EROFS, ExitCode.CANNOT_CREATE),
    ],
)
def test_os_error_becomes_a_message_with_its_exit_code(
    tmp_path: Path, number: int, exit_code: ExitCode
) -> None:
    with (
        pytest.raises(DataError, match=r"new cannot be written: why.*set data\.prepared") as caught,
        whole_folder(tmp_path / "new", setting="data.prepared"),
    ):
        raise OSError(number, "why")
    assert caught.value.exit_code == exit_code
    assert list(tmp_path.iterdir()) == []


def test_file_in_the_way_exits_73(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DataError, match="a file is in its way") as caught,
        whole_folder(tmp_path / "file" / "new", setting="data.prepared"),
    ):
        pass
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_file_in_the_way_of_a_folder_is_said(tmp_path: Path) -> None:
    error = FileExistsError(errno.EEXIST, "File exists")
    told = error_from_write(tmp_path / "a", error, setting="--out")
    assert "a file is in its way" in told.message
    assert told.exit_code == ExitCode.CANNOT_CREATE


def test_place_is_kept_after_an_error_and_given_again(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "new"

    def write_half() -> None:
        with resumable_folder(folder, setting="data.prepared") as place:
            (place / "new" / "a").write_text("a")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_half()
    assert not folder.exists()
    with resumable_folder(folder, setting="data.prepared") as place:
        assert (place / "new" / "a").read_text() == "a"
        (place / "beside").write_text("not of the folder")
        (place / "new" / "b").write_text("b")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
    assert [path.name for path in folder.parent.iterdir()] == ["new"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~_umask()


def test_folder_that_is_there_stays(tmp_path: Path) -> None:
    with resumable_folder(tmp_path / "new", setting=None) as place:
        (place / "new" / "a").write_text("mine")
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "a").write_text("theirs")
    assert (tmp_path / "new" / "a").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_place_of_another_process_is_waited_for(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    with ThreadPoolExecutor(1) as other:

        def take() -> bool:
            with resumable_folder(
                tmp_path / "new", setting=None, progress=lambda *what: told.append(what)
            ):
                return (tmp_path / "new" / "a").exists()

        with resumable_folder(tmp_path / "new", setting=None) as place:
            second = other.submit(take)
            while not told:
                time.sleep(0.01)
            (place / "new" / "a").write_text("a")
            assert not second.done()
        assert second.result()
    assert told[-1] == ("wait for another process", 1, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_file_system_without_locks_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with resumable_folder(tmp_path / "new", setting=None) as place:
        (place / "new" / "a").write_text("a")
    assert (tmp_path / "new" / "a").exists()


def test_place_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(DataError, match=r"set data\.prepared to another place") as caught,
        resumable_folder(tmp_path / "file" / "new", setting="data.prepared"),
    ):
        raise AssertionError
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


def test_full_disk_is_told_and_the_place_is_kept(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match="new cannot be written: full") as caught,
        resumable_folder(tmp_path / "new", setting=None),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.exit_code == ExitCode.IO
    assert [path.name for path in tmp_path.iterdir()] == [".partial-new"]


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
