import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from phiray.images.signature import (
    MAX_DISTANCE,
    NUM_BITS,
    Signature,
    gradient_words,
    near_pairs,
    signature_from_bytes,
    signature_from_pixels,
)
from tests.image_builders import encoded_image
from tests.odd_images import encode

STEP = 25
"""Every 25th real image is copied in each way: 20 of 498; `bench/copies.py` copies all."""


def real_images(shared_data: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((shared_data / "coco" / "images").glob("*/*.jpg"))]


def test_signature_of_equal_pixels_is_equal_whatever_the_file() -> None:
    image = Image.open(io.BytesIO(encoded_image(1)))

    first = signature_from_bytes(encode(image))
    second = signature_from_bytes(encode(image, "WEBP", lossless=True))

    assert first == second
    assert first != signature_from_bytes(encoded_image(2, format="PNG"))


def test_gradients_point_to_the_brighter_cell() -> None:
    """One grey step a pixel to the right and down: all 512 bits are 1, and all are clear."""
    ramp = torch.arange(68)[None, :] + torch.arange(68)[:, None]  # 4 levels a cell
    signature = signature_from_pixels(ramp.expand(3, 68, 68).to(torch.uint8))

    assert signature.gradient_bits == b"\xff" * (NUM_BITS // 8)
    assert signature.has_gradients


def test_a_flat_picture_has_no_gradients() -> None:
    flat = torch.full((3, 40, 50), 128, dtype=torch.uint8)

    assert not signature_from_pixels(flat).has_gradients
    assert signature_from_pixels(flat).pixel_hash != signature_from_pixels(flat + 1).pixel_hash


def test_near_pairs_equals_counting_all_bits() -> None:
    rng = np.random.default_rng(0)
    left = [Signature(b"", rng.bytes(64)) for _ in range(300)]
    right = [Signature(b"", bytes(64))]
    for signature in left[:40]:
        bits = np.unpackbits(np.frombuffer(signature.gradient_bits, dtype=np.uint8))
        bits[rng.permutation(NUM_BITS)[: rng.integers(30, 70)]] ^= 1
        right.append(Signature(b"", np.packbits(bits).tobytes()))
    a, b = gradient_words(left), gradient_words(right)
    distances = np.bitwise_count(a[:, None] ^ b[None]).sum(-1)
    wanted = [
        (i, j, int(distances[i, j])) for i, j in np.argwhere(distances <= MAX_DISTANCE).tolist()
    ]

    assert sorted(near_pairs(a, b)) == wanted
    assert 5 < len(wanted) < 40


def test_near_pairs_of_nothing_are_none() -> None:
    assert list(near_pairs(gradient_words([]), gradient_words([Signature(b"", b"a" * 64)]))) == []


@pytest.mark.slow
def test_no_two_real_images_are_taken_for_copies(shared_data: Path) -> None:
    signatures = [signature_from_bytes(data) for data in real_images(shared_data)]
    words = gradient_words(signatures)

    assert len(signatures) == 498
    assert len({signature.pixel_hash for signature in signatures}) == 498
    assert sum(signature.has_gradients for signature in signatures) >= 490
    assert [pair for pair in near_pairs(words, words) if pair[0] != pair[1]] == []


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "quality 30": lambda image: encode(image, "JPEG", quality=30),
    "half size": lambda image: encode(image.resize((image.width // 2, image.height // 2)), "JPEG"),
    "64 x 64": lambda image: encode(image.resize((64, 64)), "JPEG", quality=85),
    "grey": lambda image: encode(image.convert("L"), "JPEG"),
    "WebP": lambda image: encode(image, "WEBP"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COPIES)
def test_copies_of_real_images_are_found(shared_data: Path, name: str) -> None:
    images = real_images(shared_data)[::STEP]
    own = gradient_words([signature_from_bytes(data) for data in images])
    copies = gradient_words(
        [
            signature_from_bytes(COPIES[name](Image.open(io.BytesIO(data)).convert("RGB")))
            for data in images
        ]
    )

    found = {(i, j) for i, j, _ in near_pairs(own, copies)}

    assert {pair for pair in found if pair[0] != pair[1]} == set()
    assert len(found) >= len(images) - 1  # one has few edges, and is known by equal pixels alone


def test_the_dirt_of_coco_is_found(shared_data: Path) -> None:
    """Resized and recoloured copies of images 139 and 724, in published data sets."""
    dirt = sorted((shared_data / "coco" / "dirt").glob("*.jpg"))
    folder = shared_data / "coco" / "images" / "val2017"
    originals = [folder / path.name.rpartition("_")[2] for path in dirt]

    words = [
        gradient_words([signature_from_bytes(p.read_bytes()) for p in ps])
        for ps in (dirt, originals)
    ]
    found = {(dirt[i].name, originals[j].name) for i, j, _ in near_pairs(words[0], words[1])}

    assert {
        (path.name, original.name) for path, original in zip(dirt, originals, strict=True)
    } == found
