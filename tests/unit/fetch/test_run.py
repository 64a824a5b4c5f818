import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from phiray.errors import ConfigError, ExitCode, FetchError
from phiray.fetch.run import SOURCES, FetchOptions, FetchSummary, Source, fetch_data
from phiray.fetch.sources import COCO, GUTENBERG, INSTRUCT, NAMES, REDPAJAMA, BookSource, HubSource
from tests.coco_server import serve_coco
from tests.fetch_builders import Listener, serve_repository
from tests.fetch_server import QUICK, FaultyServer
from tests.unit.fetch.test_books import serve_books
from tests.unit.fetch.test_hub import FILES, REPOSITORY, source_at

pytestmark = pytest.mark.usefixtures("free_hub")


def sources_at(server: FaultyServer) -> dict[str, Source]:
    hub: HubSource = source_at(server)
    books = BookSource((server.url,), server.url, 10**6, 1_000, 0.0)
    return {
        "coco": serve_coco(server).source,
        "instruct": hub,
        "gutenberg": books,
        "redpajama": hub,
    }


def fetch(
    name: str, out: Path, server: FaultyServer, listener: Listener, **options: object
) -> FetchSummary:
    return fetch_data(
        name,
        out,
        FetchOptions(patience=QUICK, **options),  # type: ignore[arg-type]
        progress=listener.progress,
        note=listener.note,
        sources=sources_at(server),
    )


def test_names_stand_for_the_sources_of_users() -> None:
    assert tuple(SOURCES[name] for name in NAMES) == (COCO, INSTRUCT, GUTENBERG, REDPAJAMA)


def test_each_data_set_lands_in_its_folder(tmp_path: Path, server: FaultyServer) -> None:
    serve_books(server, 84)
    (tmp_path / "ids.txt").write_text("84\n")
    serve_repository(server, REPOSITORY, FILES)
    out, listener = tmp_path / "data", Listener()
    summary = fetch("coco", out, server, listener, subset=3)
    assert summary.files == 5
    # most images of its captions are missing, as they are meant to be
    assert summary.next == f"phiray data check --partial {out}"
    assert fetch("gutenberg", out, server, listener, ids=tmp_path / "ids.txt").files == 1
    assert fetch("redpajama", out, server, listener).files == 2
    assert fetch("instruct", out, server, listener).files == 2
    found = [path.relative_to(out) for path in out.glob("*/*") if path.name != ".fetch"]
    assert {str(path) for path in found} == {
        *("coco/annotations", "coco/images", "gutenberg/books", "gutenberg/index.jsonl"),
        *(f"{name}/{file}" for name in ("redpajama", "instruct") for file in FILES),
    }


def test_summary_says_what_is_there_and_how_to_go_on(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, FILES)
    first = fetch("redpajama", tmp_path, server, Listener())
    assert asdict(first) | {"licence": ""} == {
        "name": "redpajama",
        "folder": str(tmp_path / "redpajama"),
        "files": 2,
        "bytes": 39_000,
        "fetched_bytes": 39_000,
        "damaged": [],
        "licence": "",
        "next": f"phiray data check {tmp_path}",
    }
    assert "https://huggingface.co/datasets/togethercomputer" in first.licence
    assert fetch("redpajama", tmp_path, server, Listener()).fetched_bytes == 0


def test_command_to_go_on_with_can_be_pasted(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, FILES)
    out = tmp_path / "my data"
    summary = fetch("redpajama", out, server, Listener())
    assert shlex.split(summary.next) == ["phiray", "data", "check", str(out)]


def test_verify_tells_and_mends_what_is_damaged(tmp_path: Path, server: FaultyServer) -> None:
    serve_repository(server, REPOSITORY, FILES)
    fetch("redpajama", tmp_path, server, Listener())
    file = tmp_path / "redpajama" / "b_sample.jsonl"
    file.write_bytes(bytes(9_000))
    assert fetch("redpajama", tmp_path, server, Listener()).fetched_bytes == 0
    listener = Listener()
    summary = fetch("redpajama", tmp_path, server, listener, verify=True)
    assert summary.damaged == ["b_sample.jsonl"]
    assert listener.notes[0] == "b_sample.jsonl is damaged; it is fetched again"
    assert file.read_bytes() == FILES["b_sample.jsonl"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("instruct", {"subset": 3}, "--subset was given for instruct. It belongs to coco alone"),
        ("coco", {"ids": Path("x")}, "--ids was given for coco. It belongs to gutenberg alone"),
    ],
)
def test_an_option_of_another_data_set_is_refused_before_anything(
    tmp_path: Path, server: FaultyServer, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        fetch(name, tmp_path / "data", server, Listener(), **options)
    assert caught.value.exit_code == ExitCode.USAGE
    assert not (tmp_path / "data").exists()


def test_a_url_is_no_folder(tmp_path: Path, server: FaultyServer) -> None:
    with pytest.raises(ConfigError, match=r"--out is s3:/bucket/data, a URL") as caught:
        fetch("coco", Path("s3://bucket/data"), server, Listener())
    assert caught.value.exit_code == ExitCode.USAGE


def test_sources_of_users_cannot_be_reached_by_other_places(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror in the environment, which huggingface_hub would follow, changes nothing."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(FetchError, match="the connection failed"):
        fetch_data(
            "instruct",
            tmp_path,
            FetchOptions(patience=QUICK),
            progress=Listener().progress,
            note=print,
        )
    assert server.log == []
