from pathlib import Path

from phiray.data.check.copies import SignedImage, report_copies
from phiray.data.check.report import CheckReport
from phiray.images.signature import Signature

ONES, ZEROS = b"\xff" * 64, bytes(64)
FAR, NEAR = b"\x0f" * 64, b"\xff" * 60 + bytes(4)


def image(number: int, *, is_heldout: bool, pixels: bytes, gradients: bytes) -> SignedImage:
    return SignedImage(Path(f"{number}.jpg"), number, is_heldout, Signature(pixels, gradients))


def found(*images: SignedImage) -> dict[str, list[str]]:
    report = CheckReport()
    report_copies(images, report, progress=None)
    return {kind: tally.places for kind, tally in (report.findings | report.notes).items()}


def test_equal_pictures_are_a_leak_on_two_sides_and_copies_on_one() -> None:
    first = image(1, is_heldout=False, pixels=b"a", gradients=ONES)
    second = image(2, is_heldout=True, pixels=b"a", gradients=ONES)
    third = image(3, is_heldout=False, pixels=b"a", gradients=ONES)

    assert found(first, second, third) == {
        "leak: one picture in train and held-out": ["1.jpg = 2.jpg"],
        "picture under two ids": ["1.jpg = 3.jpg"],
    }


def test_near_pictures_are_a_leak_on_two_sides_and_noted_on_one() -> None:
    first = image(1, is_heldout=False, pixels=b"a", gradients=ONES)
    second = image(2, is_heldout=True, pixels=b"b", gradients=NEAR)
    third = image(3, is_heldout=False, pixels=b"c", gradients=ONES)
    fourth = image(4, is_heldout=False, pixels=b"d", gradients=FAR)

    assert found(first, second, third, fourth) == {
        "leak: near copies in train and held-out": [
            "1.jpg ~ 2.jpg (32 of 512 bits differ)",
            "2.jpg ~ 3.jpg (32 of 512 bits differ)",
        ],
        "near copies under two ids": ["1.jpg ~ 3.jpg (0 of 512 bits differ)"],
    }


def test_pictures_without_gradients_are_compared_by_pixels_alone() -> None:
    first = image(1, is_heldout=False, pixels=b"a", gradients=ZEROS)
    second = image(2, is_heldout=True, pixels=b"b", gradients=ZEROS)
    third = image(3, is_heldout=True, pixels=b"a", gradients=ZEROS)

    assert found(first, second, third) == {
        "leak: one picture in train and held-out": ["1.jpg = 3.jpg"]
    }
