import hashlib
from pathlib import Path

from phiray.fetch.files import MB, say_bytes, sha256_of, show_bytes
from tests.fetch_builders import Listener


def test_sizes_are_said_in_decimal_units() -> None:
    assert say_bytes(19_336_861_798) == "19.3 GB"
    assert say_bytes(999_900_000) == "999.9 MB"
    assert say_bytes(0) == "0.0 MB"


def test_progress_ends_with_the_last_byte_and_not_before() -> None:
    listener = Listener()
    total = 2 * MB + 1
    for done in (0, MB, total - 1, total):
        show_bytes(listener.progress, "file", done, total=total)
    show_bytes(listener.progress, "empty", 0, total=0)
    assert [(done, of) for _, done, of in listener.shown] == [
        (0, 3),
        (1, 3),
        (2, 3),
        (3, 3),
        (1, 1),
    ]


def test_sha256_is_that_of_hashlib_and_tells_of_its_progress(tmp_path: Path) -> None:
    body = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(body)
    listener = Listener()
    found = sha256_of(tmp_path / "file", "check", progress=listener.progress)
    assert found == hashlib.sha256(body).hexdigest()
    assert listener.shown[-1] == ("check, MB", 3, 3)
    assert sha256_of(tmp_path / "file", "check", progress=None) == found
