"""`phiray data fetch` as a user runs it: real processes, https, killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from phiray.fetch.sources import INSTRUCT, REDPAJAMA
from tests.coco_server import ANNOTATIONS, TRAIN, VAL, serve_coco
from tests.fetch_builders import hash_of, noise, serve_repository
from tests.fetch_server import Answer, FaultyServer, faulty_server
from tests.tls_proxy import TlsProxy, tls_proxy, write_certificate
from tests.unit.fetch.test_books import book, serve_books

HOSTS = [
    "huggingface.co",
    "cas-bridge.xethub.hf.co",
    "gutenberg.pglaf.org",
    "s3.amazonaws.com",
    "evil.example",
]
STORE = "https://cas-bridge.xethub.hf.co"
FILE = "llava_instruct_150k.json"


@dataclass
class Internet:
    """All hosts at once, and how a process reaches them."""

    server: FaultyServer
    proxy: TlsProxy
    environment: dict[str, str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "phiray", "data", "fetch", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as process:
            out, errors = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)


@pytest.fixture
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    trusted, served = write_certificate(tmp_path_factory.mktemp("tls"), HOSTS)
    names = ("HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "HF_ENDPOINT")
    dropped = {*names, *(name.lower() for name in names), "HF_HUB_OFFLINE"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    with faulty_server(certificate=served) as server, tls_proxy(server.port) as proxy:
        reached = {
            "HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}",
            "SSL_CERT_FILE": str(trusted),
        }
        yield Internet(server, proxy, {**kept, **reached})


def serve_instruct(server: FaultyServer, body: bytes) -> str:
    """Serve the conversations from a store of the Hub; return their path there."""
    path = serve_repository(server, INSTRUCT.repository, {FILE: body})[FILE]
    resolve = f"/datasets/{INSTRUCT.repository}/resolve/{'c' * 40}/{FILE}"
    server.answers[resolve] = [Answer(302, headers={"Location": f"{STORE}{path}?sig=1"})] * 9
    return path


def wait_for_files(
    process: subprocess.Popen[str], folder: Path, pattern: str, *, count: int
) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        if len(list(folder.glob(pattern))) >= count:
            return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"never {count} of {pattern}: {process.communicate()}")


def wait_for_part(process: subprocess.Popen[str], folder: Path, *, num_bytes: int) -> Path:
    """Wait until so much has arrived; return the part."""
    part = folder / ".fetch" / f"{FILE}.part"
    wait_for_files(process, folder, f".fetch/{FILE}.part", count=1)
    ends = time.monotonic() + 60
    while part.stat().st_size < num_bytes:
        assert time.monotonic() < ends, "too little arrived"
        time.sleep(0.01)
    return part


def test_killed_download_goes_on_and_nothing_is_fetched_twice(
    internet: Internet, tmp_path: Path
) -> None:
    body = noise(2_000_000)
    path = serve_instruct(internet.server, body)
    internet.server.pace_seconds = 0.005  # 800 kB a second
    arguments = ("instruct", "--out", str(tmp_path))
    with internet.start(*arguments) as process:
        part = wait_for_part(process, tmp_path / "instruct", num_bytes=500_000)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    kept = part.stat().st_size
    assert 500_000 <= kept < len(body)
    assert list((tmp_path / "instruct").glob("*.json")) == []
    internet.server.pace_seconds = 0.0
    done = internet.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    first, second = internet.server.asked(path)
    assert (first.range, second.range) == (None, f"bytes={kept}-")
    assert second.sent == len(body) - kept
    assert second.if_range == '"1"'
    assert json.loads(done.stdout)["fetched_bytes"] == len(body) - kept
    assert (tmp_path / "instruct" / FILE).read_bytes() == body
    assert {asked.partition(":")[0] for asked in internet.proxy.asked} == {
        "huggingface.co",
        "cas-bridge.xethub.hf.co",
    }


def test_a_full_disk_ends_with_74_and_what_arrived_is_gone_on_with(
    internet: Internet, tmp_path: Path
) -> None:
    """A bound on file sizes stands for the disk: both refuse a write in the middle of a file."""
    body = noise(600_000)
    path = serve_instruct(internet.server, body)
    arguments = [sys.executable, "-m", "phiray", "data", "fetch", "instruct"]
    full = subprocess.run(
        ["sh", "-c", 'ulimit -f 400; exec "$@"', "sh", *arguments, "--out", str(tmp_path)],
        env=internet.environment,  # 400 blocks of 512 bytes, or of 1,024 in some shells
        capture_output=True,
        text=True,
    )
    assert full.returncode == 74
    assert "Free some space" in full.stderr
    assert "Traceback" not in full.stderr
    kept = (tmp_path / "instruct" / ".fetch" / f"{FILE}.part").stat().st_size
    assert 0 < kept < len(body)
    done = internet.run("instruct", "--out", str(tmp_path), "--json")
    assert json.loads(done.stdout)["fetched_bytes"] == len(body) - kept
    assert internet.server.asked(path)[-1].range == f"bytes={kept}-"
    assert (tmp_path / "instruct" / FILE).read_bytes() == body


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_download_at_once_and_keeps_what_arrived(
    internet: Internet, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    path = serve_instruct(internet.server, noise(2_000_000))
    internet.server.answers[path] = [Answer(stall_at=300_000)]  # nothing more for a minute
    with internet.start("instruct", "--out", str(tmp_path)) as process:
        part = wait_for_part(process, tmp_path / "instruct", num_bytes=300_000)
        sent = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert time.monotonic() - sent < 5
    assert process.returncode == code
    assert "Traceback" not in errors
    assert part.stat().st_size == 300_000


SMALL_COCO = """
import sys, time
from phiray import cli
from phiray.fetch import archive, run
from tests.coco_server import ANNOTATIONS, TRAIN, VAL, serve_coco
from tests.fetch_server import FaultyServer
run.SOURCES["coco"] = serve_coco(FaultyServer(port=int(sys.argv.pop(1)))).source
unpack_one, pause = archive._unpack_one, float(sys.argv.pop(1))
def unpack_slowly(*given):
    time.sleep(pause)
    return unpack_one(*given)
archive._unpack_one = unpack_slowly
sys.argv[0] = "phiray"
cli.main()
"""
"""The command as it is, but that COCO lies at a port of this machine, and unpacks slowly."""


def start_coco(
    server: FaultyServer, folder: Path, *more: str, pause_seconds: float = 0.0
) -> subprocess.Popen[str]:
    command = ["data", "fetch", "coco", "--out", str(folder), *more]
    return subprocess.Popen(
        [sys.executable, "-c", SMALL_COCO, str(server.port), str(pause_seconds), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".fetch" not in path.parts
    }


def finish(process: subprocess.Popen[str]) -> None:
    with process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def test_killed_unpacking_goes_on_and_fetches_no_archive_twice(tmp_path: Path) -> None:
    with faulty_server() as server:
        expected = serve_coco(server).expected
        with start_coco(server, tmp_path, pause_seconds=0.05) as process:
            wait_for_files(process, tmp_path, "coco/.fetch/train2017.zip.unpacked/*.jpg", count=10)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "coco/images/train2017").exists()
        half = list(tmp_path.glob("coco/.fetch/train2017.zip.unpacked/*.jpg"))
        assert 10 <= len(half) < 40
        inodes = {path.name: path.stat().st_ino for path in half}
        finish(start_coco(server, tmp_path))
        assert [len(server.asked(path)) for path in (ANNOTATIONS, TRAIN, VAL)] == [1, 1, 1]
    assert files_in(tmp_path / "coco") == expected
    place = tmp_path / "coco/images/train2017"
    assert {name: (place / name).stat().st_ino for name in inodes} == inodes


def test_killed_subset_goes_on_and_fetches_no_image_twice(tmp_path: Path) -> None:
    with faulty_server() as server:
        expected = serve_coco(server).expected
        server.pace_seconds = 0.3
        with start_coco(server, tmp_path, "--subset", "36") as process:
            wait_for_files(process, tmp_path, "coco/images/train2017/*.jpg", count=16)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        there = {path.name for path in tmp_path.glob("coco/images/train2017/*.jpg")}
        assert 16 <= len(there) < 36
        before = len(server.log)
        server.pace_seconds = 0.0
        finish(start_coco(server, tmp_path, "--subset", "36"))
        again = {asked.path.rpartition("/")[2] for asked in server.log[before:]}
    found = files_in(tmp_path / "coco")
    assert found.items() < expected.items()
    assert sum(name.startswith("images/") for name in found) == 36
    assert not again & there


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_subset_at_once(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Sixteen threads wait for images that do not come."""
    with faulty_server() as server:
        serve_coco(server)
        for path in list(server.files):
            if path.startswith("/train2017/"):
                server.answers[path] = [Answer(stall_at=10)]
        with start_coco(server, tmp_path, "--subset", "20") as process:
            wait_for_files(process, tmp_path, "coco/.fetch/*.jpg.part", count=16)
            sent = time.monotonic()
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
    assert time.monotonic() - sent < 5
    assert process.returncode == code
    assert "Traceback" not in errors


def test_books_and_the_last_lines_that_a_user_reads(internet: Internet, tmp_path: Path) -> None:
    serve_books(internet.server, 84)
    (tmp_path / "ids.txt").write_text("84  # Frankenstein\n")
    arguments = ("gutenberg", "--out", str(tmp_path / "data"), "--ids", str(tmp_path / "ids.txt"))
    done = internet.run(*arguments)
    assert done.returncode == 0, done.stderr
    first, licence, last = done.stdout.splitlines()
    assert first == f"{tmp_path}/data/gutenberg: 1 files, 0.0 MB; 0.0 MB fetched now"
    assert licence.startswith("The books are in the public domain in the USA;")
    assert last == f"Go on with: phiray data check {tmp_path}/data"
    assert (tmp_path / "data/gutenberg/books/pg84.txt").read_bytes() == book(84)
    again = internet.run(*arguments)
    assert again.stdout.startswith(f"{tmp_path}/data/gutenberg: 1 files, 0.0 MB; all was there")
    assert len(internet.server.log) == 1


def test_rows_arrive_with_the_hash_that_the_hub_names(internet: Internet, tmp_path: Path) -> None:
    files = {"arxiv_sample.jsonl": b'{"text": "a"}\n', "c4_sample.jsonl": b'{"text": "b"}\n'}
    serve_repository(internet.server, REDPAJAMA.repository, files)
    done = internet.run("redpajama", "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 2
    lines = (tmp_path / "redpajama/.fetch/files.jsonl").read_text().splitlines()
    noted = {line["path"]: line["sha256"] for line in map(json.loads, lines) if "path" in line}
    assert noted == {name: hash_of(body) for name, body in files.items()}


@pytest.mark.parametrize(
    "target", ["https://evil.example/x", "http://huggingface.co/x", "https://huggingface.co:444/x"]
)
def test_a_redirect_away_is_refused_by_the_command_itself(
    internet: Internet, tmp_path: Path, target: str
) -> None:
    path = serve_instruct(internet.server, noise(1_000))
    internet.server.answers[path] = [Answer(302, headers={"Location": target})]
    internet.server.files["/x"] = noise(1_000)
    done = internet.run("instruct", "--out", str(tmp_path))
    assert done.returncode == 77
    assert f"A download leads to {target}" in done.stderr
    assert "Traceback" not in done.stderr
    assert internet.server.asked("/x") == []
    assert not any("evil" in asked or "444" in asked for asked in internet.proxy.asked)


def test_a_coco_that_is_another_one_is_refused(internet: Internet, tmp_path: Path) -> None:
    serve_coco(internet.server)
    path = "/images.cocodataset.org/annotations/annotations_trainval2017.zip"
    internet.server.files[path] = b"<html>please log in</html>"
    done = internet.run("coco", "--out", str(tmp_path), "--subset", "10")
    assert done.returncode == 65
    assert "has 26 bytes by its server. Expected 252907541." in done.stderr


def test_a_certificate_that_is_not_trusted_is_named(internet: Internet, tmp_path: Path) -> None:
    del internet.environment["SSL_CERT_FILE"]
    done = internet.run("instruct", "--out", str(tmp_path))
    assert done.returncode == 69
    assert "the server's certificate is not valid" in done.stderr


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "phiray", "data", "fetch", "coco", "--out", str(tmp_path / "data")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 73
    assert "a file has that name" in done.stderr
