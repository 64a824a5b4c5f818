import os
import shutil
from pathlib import Path

import pytest

from phiray.errors import ConfigError, ExitCode, FetchError
from phiray.fetch.partial import PartialFile
from phiray.fetch.sources import RemoteFile
from tests.fetch_builders import workplace_at
from tests.fetch_server import FaultyServer

SERVER = FaultyServer(port=9)


def test_parts_of_a_workplace_lie_where_no_reader_looks(tmp_path: Path) -> None:
    with workplace_at(tmp_path / "data" / "coco", SERVER) as workplace:
        assert workplace.work == tmp_path / "data" / "coco" / ".fetch"
        part = workplace.part("images/train2017/a.jpg")
        assert part.path.parent == workplace.work
        assert part.path.suffix == ".part"
        assert part != workplace.part("images/val2017/a.jpg")


def test_two_processes_cannot_fetch_into_one_folder(tmp_path: Path) -> None:
    with workplace_at(tmp_path, SERVER):
        with pytest.raises(FetchError, match="Another process is fetching into") as caught:
            workplace_at(tmp_path, SERVER).__enter__()
        assert caught.value.exit_code == ExitCode.RESUMABLE
    with workplace_at(tmp_path, SERVER):
        pass  # free again


def test_an_error_in_the_block_comes_through_and_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="of the block"), workplace_at(tmp_path, SERVER):
        raise BlockingIOError(11, "of the block")
    with workplace_at(tmp_path, SERVER):
        pass


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigError, match="a file has that name") as caught:
        workplace_at(tmp_path / "data" / "coco", SERVER).__enter__()
    assert caught.value.exit_code == ExitCode.CANNOT_CREATE


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_made_is_an_error_of_the_machine(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Permission denied"):
        workplace_at(tmp_path / "data", SERVER).__enter__()


def test_too_small_a_disk_is_said_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_500_000_000))
    with workplace_at(tmp_path, SERVER) as workplace:
        workplace.check_room(1_500_000_000, what="COCO 2017")
        with pytest.raises(
            FetchError, match=r"has 1\.5 GB free. COCO 2017 needs 38\.7 GB"
        ) as caught:
            workplace.check_room(38_700_000_000, what="COCO 2017")
    assert caught.value.exit_code == ExitCode.IO


def test_a_file_that_was_noted_but_not_put_in_place_is_not_fetched_again(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: PartialFile, target: Path) -> None:
        raise KeyboardInterrupt

    server.files["/a"] = b"bytes"
    remote = RemoteFile(f"{server.url}a", "deep/a", max_bytes=10)
    with monkeypatch.context() as patched, workplace_at(tmp_path, server) as workplace:
        patched.setattr(PartialFile, "become", killed)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            workplace.fetch(remote)
    with workplace_at(tmp_path, server) as workplace:
        assert not workplace.ledger.is_there("deep/a")
        assert workplace.fetch(remote) == 0
        assert workplace.ledger.is_there("deep/a")
    assert (tmp_path / "deep" / "a").read_bytes() == b"bytes"
    assert len(server.log) == 1
