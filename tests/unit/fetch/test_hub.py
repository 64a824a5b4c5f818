import json
import re
from pathlib import Path

import huggingface_hub
import pytest

from phiray.errors import DataError, ExitCode, FetchError
from phiray.fetch.hub import fetch_hub, list_files
from phiray.fetch.sources import HubSource
from tests.fetch_builders import Listener, hash_of, noise, serve_repository, workplace_at
from tests.fetch_server import IMPATIENT, Answer, FaultyServer

pytestmark = pytest.mark.usefixtures("free_hub")

REPOSITORY = "someone/Sample"
API = f"/api/datasets/{REPOSITORY}"
FILES = {"a_sample.jsonl": noise(30_000), "b_sample.jsonl": noise(9_000, seed=1)}


def source_at(server: FaultyServer) -> HubSource:
    return HubSource(
        places=(server.url,),
        endpoint=server.url.rstrip("/"),
        repository=REPOSITORY,
        files=re.compile(r"[a-z_]+\.jsonl"),
        max_file_bytes=10**6,
    )


def test_listing_is_pinned_to_its_commit_with_sizes_and_hashes(
    tmp_path: Path, server: FaultyServer
) -> None:
    serve_repository(server, REPOSITORY, FILES)
    with workplace_at(tmp_path, server) as workplace:
        listing = list_files(source_at(server), workplace)
    assert listing.commit == "c" * 40
    assert [(file.path, file.num_bytes, file.sha256) for file in listing.files] == [
        (name, len(body), hash_of(body)) for name, body in FILES.items()
    ]
    base = f"{server.url}datasets/{REPOSITORY}/resolve/{'c' * 40}"
    assert [file.url for file in listing.files] == [f"{base}/{name}" for name in FILES]


def test_files_arrive_once(tmp_path: Path, server: FaultyServer) -> None:
    listener = Listener()
    paths = serve_repository(server, REPOSITORY, FILES)
    with workplace_at(tmp_path, server, listener=listener) as workplace:
        assert fetch_hub(source_at(server), workplace) == 39_000
    for name, body in FILES.items():
        assert (tmp_path / name).read_bytes() == body
    assert listener.notes == ["someone/Sample at commit cccccccccccc: 2 files, 0.0 MB"]
    before = len(server.log)
    with workplace_at(tmp_path, server) as workplace:
        assert fetch_hub(source_at(server), workplace) == 0
    assert len(server.log) == before  # a complete folder needs no network
    assert {server.sent(path) for path in paths.values()} == {30_000, 9_000}


def test_a_broken_off_file_is_gone_on_with(tmp_path: Path, server: FaultyServer) -> None:
    paths = serve_repository(server, REPOSITORY, FILES)
    store = paths["a_sample.jsonl"]
    server.answers[store] = [Answer(cut_at=12_000)]
    with workplace_at(tmp_path, server) as workplace:
        fetch_hub(source_at(server), workplace)
    assert [item.range for item in server.asked(store)] == [None, "bytes=12000-"]
    assert server.sent(store) == 30_000


def test_a_lost_file_is_fetched_again_and_no_other(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, FILES)
    with workplace_at(tmp_path, server) as workplace:
        fetch_hub(source_at(server), workplace)
    (tmp_path / "b_sample.jsonl").write_bytes(b"cut")
    serve_repository(server, REPOSITORY, FILES, commit="d" * 40)  # the same files, a new commit
    with workplace_at(tmp_path, server) as workplace:
        assert fetch_hub(source_at(server), workplace) == 9_000
    assert (tmp_path / "b_sample.jsonl").read_bytes() == FILES["b_sample.jsonl"]


def test_other_bytes_than_announced_are_refused(tmp_path: Path, server: FaultyServer) -> None:
    paths = serve_repository(server, REPOSITORY, FILES)
    server.files[paths["a_sample.jsonl"]] = noise(30_000, seed=2)
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(DataError, match=hash_of(FILES["a_sample.jsonl"])),
    ):
        fetch_hub(source_at(server), workplace)
    assert not (tmp_path / "a_sample.jsonl").exists()


def test_a_repository_of_other_files_is_named(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, {"data.parquet": b"x"})
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(
            DataError, match=r"holds 'README.md, data.parquet'. Expected files named like"
        ),
    ):
        fetch_hub(source_at(server), workplace)


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, ExitCode.MISSING_INPUT), (401, ExitCode.PERMISSION), (400, ExitCode.UNAVAILABLE)],
)
def test_a_hub_that_refuses_is_named(
    tmp_path: Path, server: FaultyServer, status: int, code: ExitCode
) -> None:
    server.answers[API] = [Answer(status)]
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(FetchError, match=f"someone/Sample: 127.0.0.1 answered {status}") as caught,
    ):
        fetch_hub(source_at(server), workplace)
    assert caught.value.exit_code == code


def test_a_busy_hub_is_asked_again(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, FILES)
    server.answers[API] = [Answer(503), Answer(429), Answer(stall_at=10)]
    with workplace_at(tmp_path, server, patience=IMPATIENT) as workplace:
        assert fetch_hub(source_at(server), workplace) == 39_000


@pytest.mark.parametrize(
    "body", [b"<html>", b"{}", b"[]", b'{"siblings": [{}]}', b'{"id": "a", "sha": "../x"}']
)
def test_an_answer_that_is_no_listing_is_named(
    tmp_path: Path, server: FaultyServer, body: bytes
) -> None:
    server.files[API] = body
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(FetchError, match="in a way that cannot be read") as caught,
    ):
        fetch_hub(source_at(server), workplace)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


def test_a_listing_from_elsewhere_is_refused(tmp_path: Path, server: FaultyServer) -> None:
    server.answers[API] = [Answer(307, headers={"Location": "https://evil.example/api"})]
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(FetchError, match=r"leads to https://evil\.example/api"),
    ):
        fetch_hub(source_at(server), workplace)


def test_a_listing_cannot_lead_out_of_the_folder(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, {"../evil.jsonl": b"x", "/evil.jsonl": b"x"})
    with (
        workplace_at(tmp_path / "data", server) as workplace,
        pytest.raises(DataError, match="Expected files named like"),
    ):
        fetch_hub(source_at(server), workplace)
    assert not (tmp_path / "evil.jsonl").exists()


def test_no_token_is_sent(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    serve_repository(server, REPOSITORY, FILES)
    with workplace_at(tmp_path, server) as workplace:
        fetch_hub(source_at(server), workplace)
    assert "hf_secret" not in json.dumps([asked.headers for asked in server.log])


def test_offline_mode_of_the_hub_is_named(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
    with (
        workplace_at(tmp_path, server) as workplace,
        pytest.raises(FetchError, match="HF_HUB_OFFLINE is set"),
    ):
        fetch_hub(source_at(server), workplace)
