from pathlib import Path

import httpx
import pytest

from phiray.errors import ExitCode, FetchError
from phiray.fetch.client import build_client, is_within
from tests.fetch_server import QUICK, Answer, faulty_server

BUCKET = "https://s3.amazonaws.com/images.cocodataset.org/"


@pytest.mark.parametrize(
    ("url", "place", "expected"),
    [
        (f"{BUCKET}zips/train2017.zip", BUCKET, True),
        ("https://s3.amazonaws.com/other-bucket/x", BUCKET, False),
        (f"{BUCKET}../other-bucket/x", BUCKET, False),
        ("https://s3.amazonaws.com/images.cocodataset.org/%2e%2e/other-bucket/x", BUCKET, False),
        ("http://s3.amazonaws.com/images.cocodataset.org/x", BUCKET, False),
        ("https://s3.amazonaws.com:8443/images.cocodataset.org/x", BUCKET, False),
        ("https://s3.amazonaws.com:443/images.cocodataset.org/x", BUCKET, True),
        ("https://user:word@s3.amazonaws.com/images.cocodataset.org/x", BUCKET, False),
        ("https://s3.amazonaws.com@evil.org/images.cocodataset.org/x", BUCKET, False),
        ("https://S3.AmazonAWS.com/images.cocodataset.org/x", BUCKET, True),
        ("https://cas-bridge.xethub.hf.co/a?sig=1", "https://*.hf.co/", True),
        ("https://hf.co/a", "https://*.hf.co/", False),
        ("https://evilhf.co/a", "https://*.hf.co/", False),
        ("https://cdn.hf.co.evil.org/a", "https://*.hf.co/", False),
        ("https://169.254.169.254/latest/meta-data", "https://*.hf.co/", False),
        ("ftp://cdn.hf.co/a", "https://*.hf.co/", False),
    ],
)
def test_is_within_knows_scheme_host_port_and_folder(url: str, place: str, expected: bool) -> None:
    assert is_within(httpx.URL(url), place) == expected


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_client_refuses_a_redirect_to_another_host_and_asks_nothing_of_it(status: int) -> None:
    with faulty_server() as server, faulty_server() as other:
        other.files["/b"] = b"bytes"
        server.answers["/a"] = [Answer(status, headers={"Location": f"{other.url}b"})]
        with (
            build_client([server.url], patience=QUICK) as client,
            pytest.raises(FetchError, match="A download leads to") as caught,
        ):
            client.get(f"{server.url}a")
        assert caught.value.exit_code == ExitCode.PERMISSION
        assert other.log == []


@pytest.mark.parametrize(
    "target", ["http://s3.amazonaws.com/", "https://localhost/", "file:///etc"]
)
def test_client_refuses_what_a_redirect_must_not_lead_to(target: str) -> None:
    with faulty_server() as server:
        server.answers["/a"] = [Answer(302, headers={"Location": target})]
        with (
            build_client([server.url, BUCKET], patience=QUICK) as client,
            pytest.raises(FetchError, match="A download leads to"),
        ):
            client.get(f"{server.url}a")


def test_client_shows_a_terminal_no_codes_and_no_signature_of_where_a_redirect_leads() -> None:
    with faulty_server() as server:
        target = "https://evil.example/%1b[2J%0aok?Signature=secret"
        server.answers["/a"] = [Answer(302, headers={"Location": target})]
        with (
            build_client([server.url], patience=QUICK) as client,
            pytest.raises(FetchError, match="A download leads to") as caught,
        ):
            client.get(f"{server.url}a")
    assert caught.value.message.isprintable()
    assert "secret" not in caught.value.message


def test_client_follows_a_redirect_within_its_places() -> None:
    with faulty_server() as server:
        server.files["/b"] = b"bytes"
        server.answers["/a"] = [Answer(302, headers={"Location": "/b"})]
        with build_client([server.url], patience=QUICK) as client:
            assert client.get(f"{server.url}a").content == b"bytes"


def test_client_asks_for_plain_bytes_and_sends_no_credentials(tmp_path: Path) -> None:
    with faulty_server() as server:
        server.files["/a"] = b"bytes"
        with build_client([server.url], patience=QUICK) as client:
            client.get(f"{server.url}a")
    headers = {name.lower(): value for name, value in server.log[0].headers.items()}
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"].startswith("phiray/")
    assert not {"authorization", "cookie"} & headers.keys()
