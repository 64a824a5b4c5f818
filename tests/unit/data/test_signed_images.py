import json
from collections import Counter
from pathlib import Path

import pytest

from phiray.data.signed_images import SignedImages, merge_signed, sign_images
from phiray.errors import DataError, ExitCode
from phiray.images.paths import image_id_from_name
from phiray.images.signature import Signature, signature_from_bytes
from tests.image_builders import encoded_image, write_images
from tests.odd_images import break_images


def paths_by_id(folder: Path) -> dict[int, Path]:
    return {image_id_from_name(path.name) or 0: path for path in sorted(folder.rglob("*.jpg"))}


def test_sign_images_signs_each_and_leaves_bad_ones_out(tmp_path: Path) -> None:
    images = paths_by_id(write_images(tmp_path, num_images=5))
    images[2].write_bytes(b"")
    images[4].unlink()
    told: list[tuple[str, int, int]] = []

    signed = sign_images(images, max_bad_fraction=0.4, progress=lambda *words: told.append(words))

    assert signed.ids == (1, 3, 5)
    assert signed.signatures == tuple(signature_from_bytes(encoded_image(i)) for i in signed.ids)
    assert told[-1] == ("look at all training images", 5, 5)


@pytest.mark.parametrize("percent", [1, 5, 50])
def test_sign_images_counts_bad_ones_by_reason_and_stops_above_the_share(
    tmp_path: Path, percent: int
) -> None:
    images = paths_by_id(write_images(tmp_path, num_images=1400))
    reasons = Counter(break_images(list(images.values())[: 14 * percent]))

    assert len(sign_images(images, max_bad_fraction=percent / 100).ids) == 1400 - 14 * percent
    with pytest.raises(DataError, match=f"{14 * percent} of 1400 training images") as caught:
        sign_images(images, max_bad_fraction=percent / 100 - 0.001)

    assert caught.value.exit_code == ExitCode.BAD_DATA
    assert "No step was made" in caught.value.message
    assert all(f"{count} {reason}" in caught.value.message for reason, count in reasons.items())
    assert reasons["truncated image"] == 4 * percent


SIGNED = SignedImages(
    (3, 9), (Signature(b"12345678", bytes(64)), Signature(b"abcdefgh", b"x" * 64))
)


def test_signed_images_come_back_from_json() -> None:
    assert SignedImages.from_json(SIGNED.to_json()) == SIGNED
    assert SignedImages.from_json(SignedImages((), ()).to_json()) == SignedImages((), ())


def test_signed_images_are_small() -> None:
    many = SignedImages(tuple(range(10**5, 11 * 10**4)), SIGNED.signatures[:1] * 10**4)
    assert len(many.to_json()) / 10**4 < 110


@pytest.mark.parametrize(
    "change",
    [{"ids": [1]}, {"pixel_hashes": "!"}, {"version": 2}, {"ids": None}, {"gradient_bits": ""}],
)
def test_signed_images_refuse_other_json(change: dict[str, object]) -> None:
    text = json.dumps({**json.loads(SIGNED.to_json()), **change})
    with pytest.raises(DataError, match="list of trained images"):
        SignedImages.from_json(text)


def test_merge_signed_keeps_two_images_of_one_id_and_equal_ones_once() -> None:
    other = SignedImages((3, 9), (Signature(b"--------", bytes(64)), SIGNED.signatures[1]))

    merged = merge_signed(SIGNED, other)

    assert merged.ids == (3, 3, 9)
    assert set(merged.signatures) == {*SIGNED.signatures, other.signatures[0]}
