"""What the doctor sees and says to mend."""

from pathlib import Path

import pytest

from phiray.jobs import doctor
from phiray.jobs.doctor import (
    GIB,
    available_memory,
    check_machine,
    check_packages,
    check_temporary_path,
    check_token,
)


@pytest.mark.parametrize(("mode", "is_fine"), [(0o600, True), (0o400, True), (0o644, False)])
def test_check_token_lets_only_the_owner_read(tmp_path: Path, mode: int, is_fine: bool) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    token.chmod(mode)
    check = check_token(token)
    assert (check.mend is None) == is_fine
    assert f"{mode:04o}" in check.found


def test_check_token_does_not_mind_that_there_is_none(tmp_path: Path) -> None:
    assert check_token(tmp_path / "token").mend is None
    assert not (tmp_path / "token").exists()


def test_check_temporary_path_leaves_room_for_sockets() -> None:
    assert check_temporary_path(Path("/tmp")).mend is None
    assert check_temporary_path(Path("/" + "x" * 80)).mend


def test_check_packages_reports_what_is_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = ["pytest>=1", "pytest>=1000", "no-such-thing-here>=1", "pytest>=1000; extra == 'dev'"]
    monkeypatch.setattr(doctor, "requires", lambda _: wanted)
    mends = [check.mend for check in check_packages("phiray")]
    assert mends == [
        None,
        "Run: pip install 'pytest>=1000'",
        "Run: pip install 'no-such-thing-here>=1'",
    ]


def test_check_packages_says_how_to_install_what_is_not_there() -> None:
    checks = check_packages("no-such-thing-here")
    assert [check.found for check in checks] == ["not installed, run from its folder"]


def test_check_machine_finds_too_little_memory_and_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "MIN_MEMORY_BYTES", 1 << 60)
    monkeypatch.setattr(doctor, "MIN_DISK_BYTES", 1 << 60)
    mends = {check.name: check.mend for check in check_machine(tmp_path)}
    assert mends["free memory"] == (
        f"The demo wants {(1 << 60) // GIB} GiB. Close other programs, or use --workers 1."
    )
    assert mends["disk"]
    assert mends["Python"] is None
    assert mends["CPU cores"] is None


@pytest.mark.parametrize(
    ("text", "expected"), [("3\n", 3), ("7\n", 5), ("max\n", 5), ("", 5), (None, 5)]
)
def test_memory_is_no_more_than_the_limit_of_a_container(
    tmp_path: Path, text: str | None, expected: int
) -> None:
    file = tmp_path / "memory.max"
    if text is not None:
        file.write_text(text)
    assert available_memory(5, limit_file=file) == expected
