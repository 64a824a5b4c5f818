from pathlib import Path

import httpx
import pytest

from phiray.errors import ExitCode, FetchError, PhirayError
from phiray.fetch import download
from phiray.fetch.client import Patience, build_client
from phiray.fetch.download import Arrived, Downloader
from phiray.fetch.partial import PartialFile
from phiray.fetch.sources import RemoteFile
from tests.fetch_builders import Listener, hash_of, noise
from tests.fetch_server import IMPATIENT, QUICK, Answer, FaultyServer, faulty_server

BODY = noise(60_000)
PATH = "/folder/file.bin"


def remote_at(server: FaultyServer, **changes: object) -> RemoteFile:
    known: dict[str, object] = {"max_bytes": 10**6, **changes}
    return RemoteFile(f"{server.url}{PATH[1:]}", "folder/file.bin", **known)  # type: ignore[arg-type]


def fetch(
    server: FaultyServer,
    folder: Path,
    *,
    listener: Listener | None = None,
    patience: Patience = QUICK,
    **changes: object,
) -> Arrived:
    heard = listener or Listener()
    with build_client([server.url], patience=patience) as client:
        downloader = Downloader(client, patience, heard.progress, heard.note)
        part = PartialFile(folder / "file.part")
        arrived = downloader.fetch(remote_at(server, **changes), part)
        part.become(folder / "file.bin")
        return arrived


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_arrives_whole_with_its_hash(tmp_path: Path) -> None:
    listener = Listener()
    with faulty_server() as server:
        server.files[PATH] = BODY
        arrived = fetch(server, tmp_path, listener=listener, sha256=hash_of(BODY), num_bytes=60_000)
    assert arrived == Arrived(60_000, hash_of(BODY), 60_000)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert files_in(tmp_path) == ["file.bin"]
    assert listener.shown[-1] == ("check file.bin, MB", 1, 1)


def test_cut_connections_are_gone_on_with_byte_for_byte(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(cut_at=20_000), Answer(cut_at=41_000)]
        arrived = fetch(server, tmp_path)
        asked = server.asked(PATH)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert [item.range for item in asked] == [None, "bytes=20000-", "bytes=41000-"]
    assert [item.if_range for item in asked] == [None, '"1"', '"1"']
    assert server.sent(PATH) == 60_000
    assert arrived.fetched_bytes == 60_000


def test_a_stalled_connection_is_given_up_and_gone_on_with(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(stall_at=30_000)]
        fetch(server, tmp_path, patience=IMPATIENT)
        assert [item.range for item in server.asked(PATH)] == [None, "bytes=30000-"]
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_server_that_always_stalls_ends_as_resumable_with_what_it_gave(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(stall_at=30_000)] * 4
        with pytest.raises(
            FetchError, match="nothing more at 30000 of 60000 bytes, 4 times"
        ) as caught:
            fetch(server, tmp_path, patience=IMPATIENT)
        assert caught.value.exit_code == ExitCode.RESUMABLE
        assert (tmp_path / "file.part").stat().st_size == 30_000
        assert not (tmp_path / "file.bin").exists()
        fetch(server, tmp_path, patience=IMPATIENT)  # the same command, later
        assert server.sent(PATH) == 60_000
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_server_without_ranges_starts_over(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(cut_at=20_000), Answer(ignores_range=True)]
        arrived = fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert arrived.fetched_bytes == 80_000


def test_a_file_that_changes_between_two_parts_is_never_mixed(tmp_path: Path) -> None:
    changed = noise(50_000, seed=1)
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(stall_at=20_000)] * 4
        with pytest.raises(FetchError, match="4 times"):
            fetch(server, tmp_path, patience=IMPATIENT)
        server.files[PATH], server.tags[PATH] = changed, '"2"'
        fetch(server, tmp_path, patience=IMPATIENT)
        assert server.log[-1].if_range == '"1"'
    assert (tmp_path / "file.bin").read_bytes() == changed


@pytest.mark.parametrize("tag", ["", 'W/"1"'])
def test_a_file_without_a_strong_validator_starts_over(tmp_path: Path, tag: str) -> None:
    with faulty_server() as server:
        server.files[PATH], server.tags[PATH] = BODY, tag
        server.answers[PATH] = [Answer(cut_at=20_000)]
        fetch(server, tmp_path)
        assert [item.range for item in server.asked(PATH)] == [None, None]
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_promise_that_is_too_long_is_never_taken_for_whole(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(declared=70_000, ignores_range=True)] * 4
        with pytest.raises(FetchError, match="at 60000 of 70000 bytes, 4 times"):
            fetch(server, tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_a_promise_that_is_too_short_is_seen_by_the_known_size(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(declared=50_000)]
        with pytest.raises(
            PhirayError, match=r"has 50000 bytes by its server. Expected 60000"
        ) as c:
            fetch(server, tmp_path, num_bytes=60_000)
    assert c.value.exit_code == ExitCode.BAD_DATA
    assert files_in(tmp_path) == []


def test_a_part_that_is_longer_than_promised_starts_over(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        lie = Answer(content_range="bytes 20000-29999/30000")  # and 40,000 bytes follow
        server.answers[PATH] = [Answer(cut_at=20_000), lie]
        fetch(server, tmp_path)
        assert [item.range for item in server.asked(PATH)] == [None, "bytes=20000-", None]
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize("said", ["bytes 0-59999/60000", "bytes 20001-59999/60000"])
def test_another_part_than_the_missing_one_is_not_added(tmp_path: Path, said: str) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(cut_at=20_000), Answer(content_range=said)]
        fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_part_that_does_not_say_which_is_refused(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(cut_at=20_000), Answer(content_range="bytes */60000")]
        with pytest.raises(FetchError, match="without saying which"):
            fetch(server, tmp_path)


def test_a_part_beyond_the_end_starts_over(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(cut_at=20_000), Answer(416)]
        fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_damage_on_the_way_is_fetched_again(tmp_path: Path) -> None:
    listener = Listener()
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(body=noise(60_000, seed=1))]
        arrived = fetch(server, tmp_path, sha256=hash_of(BODY), listener=listener)
    assert arrived.fetched_bytes == 120_000
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert listener.notes == ["file.bin arrived damaged; it is fetched again"]


def test_wrong_bytes_are_refused_and_not_kept(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = noise(60_000, seed=1)
        with pytest.raises(PhirayError, match=f"Expected {hash_of(BODY)}") as caught:
            fetch(server, tmp_path, sha256=hash_of(BODY))
    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert files_in(tmp_path) == []


def test_a_file_that_is_too_large_is_refused_before_it_arrives(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        with pytest.raises(PhirayError, match="Expected at most 59999"):
            fetch(server, tmp_path, max_bytes=59_999)
    assert files_in(tmp_path) == []


def test_a_file_without_a_length_is_refused(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(without_length=True)]
        with pytest.raises(FetchError, match="does not say how many bytes") as caught:
            fetch(server, tmp_path)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_a_compressed_answer_is_refused(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(headers={"Content-Encoding": "gzip"})]
        with pytest.raises(FetchError, match="compresses it"):
            fetch(server, tmp_path)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(tmp_path: Path, status: int) -> None:
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(status, headers={"Retry-After": "0"})] * 3
        fetch(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("status", "code"), [(404, ExitCode.MISSING_INPUT), (403, ExitCode.PERMISSION)]
)
def test_a_final_no_is_not_asked_again(tmp_path: Path, status: int, code: ExitCode) -> None:
    with faulty_server() as server:
        server.answers[PATH] = [Answer(status)]
        with pytest.raises(FetchError, match=f"answered {status}") as caught:
            fetch(server, tmp_path)
        assert len(server.log) == 1
    assert caught.value.exit_code == code


def test_no_server_at_all_ends_as_resumable(tmp_path: Path) -> None:
    with faulty_server() as server:
        pass
    with pytest.raises(FetchError, match="the connection failed") as caught:
        fetch(server, tmp_path)
    assert caught.value.exit_code == ExitCode.RESUMABLE


def test_a_redirect_away_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with faulty_server() as server, faulty_server() as other:
        other.files["/b"] = BODY
        server.answers[PATH] = [Answer(302, headers={"Location": f"{other.url}b"})]
        with pytest.raises(FetchError, match="A download leads to"):
            fetch(server, tmp_path)
        assert other.log == []
    assert files_in(tmp_path) == []


def test_a_whole_part_is_only_checked(tmp_path: Path) -> None:
    """The process was killed between the last byte and the name."""
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(stall_at=50_000)] * 4
        with pytest.raises(FetchError, match="4 times"):
            fetch(server, tmp_path, patience=IMPATIENT)
        with (tmp_path / "file.part").open("ab") as part:
            part.write(BODY[50_000:])
        before = len(server.log)
        arrived = fetch(server, tmp_path, sha256=hash_of(BODY))
        assert len(server.log) == before
    assert arrived.fetched_bytes == 0
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_connection_that_brings_much_each_time_is_never_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "GAINED_BYTES", 4_000)
    with faulty_server() as server:
        server.files[PATH] = BODY
        server.answers[PATH] = [Answer(cut_at=end) for end in range(5_000, 60_000, 5_000)]
        arrived = fetch(server, tmp_path)
    assert arrived.fetched_bytes == 60_000


def test_a_full_disk_is_an_error_of_the_machine_that_keeps_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(response: httpx.Response) -> object:
        yield BODY[:10_000]
        raise OSError(28, "No space left on device")

    with faulty_server() as server:
        server.files[PATH] = BODY
        with monkeypatch.context() as patched:
            patched.setattr(httpx.Response, "iter_raw", full)
            with pytest.raises(OSError, match="No space left"):
                fetch(server, tmp_path)
        assert (tmp_path / "file.part").stat().st_size == 10_000
        fetch(server, tmp_path)
        assert server.log[-1].range == "bytes=10000-"
    assert (tmp_path / "file.bin").read_bytes() == BODY
