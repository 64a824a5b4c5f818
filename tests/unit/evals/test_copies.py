import pytest

from phiray.data.signed_images import SignedImages
from phiray.errors import DataError, ExitCode
from phiray.evals.copies import check_copies
from phiray.images.signature import Signature

TRAINED = SignedImages((1, 2), (Signature(b"1" * 8, b"\xff" * 64), Signature(b"2" * 8, bytes(64))))


def test_check_copies_lets_other_pictures_pass_and_counts() -> None:
    other = {"a.jpg": Signature(b"3" * 8, b"\x0f" * 64), "b.jpg": Signature(b"4" * 8, bytes(64))}

    assert check_copies(TRAINED, other) == 2
    assert check_copies(SignedImages((), ()), other) == 0


def test_check_copies_refuses_equal_and_near_pictures_by_name() -> None:
    evaluated = {
        "equal.jpg": Signature(b"2" * 8, bytes(64)),
        "near.jpg": Signature(b"5" * 8, b"\xff" * 63 + b"\x0f"),
        "other.jpg": Signature(b"6" * 8, b"\x0f" * 64),
    }

    with pytest.raises(DataError, match="2 evaluated pictures were trained on") as caught:
        check_copies(TRAINED, evaluated)

    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert "equal.jpg (equal pixels: trained on as 2)" in caught.value.message
    assert "near.jpg (4 of 512 bits differ: trained on as 1)" in caught.value.message
    assert "other.jpg" not in caught.value.message
