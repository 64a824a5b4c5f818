"""Measure how surely copies of pictures are found, and how far pictures that differ are apart.

    python bench/copies.py IMAGES [DIRT] > bench/results/copies.json

IMAGES holds real photographs, DIRT copies of some of them from elsewhere, named after them.

Limits: each copy is of one kind; what was cropped or turned is measured to show what is not found.
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.contention import commit  # noqa: E402 - the path comes first
from bench.demo import machine  # noqa: E402
from phiray.images.signature import (  # noqa: E402
    MAX_DISTANCE,
    MIN_CLEAR_BITS,
    NUM_BITS,
    gradient_words,
    near_pairs,
    signature_from_bytes,
)


def encode(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def crop(image: Image.Image, margin: float) -> Image.Image:
    """Cut a share of each side away."""
    x, y = margin * image.width, margin * image.height
    return image.crop((int(x), int(y), int(image.width - x), int(image.height - y)))


COPIES: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG quality 75": lambda image: encode(image, quality=75),
    "JPEG quality 30": lambda image: encode(image, quality=30),
    "PNG": lambda image: encode(image, "PNG"),
    "WebP": lambda image: encode(image, "WEBP"),
    "half size": lambda image: encode(image.resize((image.width // 2, image.height // 2))),
    "squashed to 224 x 224": lambda image: encode(image.resize((224, 224)), quality=85),
    "64 x 64": lambda image: encode(image.resize((64, 64)), quality=85),
    "grey": lambda image: encode(image.convert("L")),
    "brighter by a tenth": lambda image: encode(image.point(lambda v: min(255, int(v * 1.1)))),
    "1 % cropped": lambda image: encode(crop(image, 0.005)),
    "2 % cropped": lambda image: encode(crop(image, 0.01)),
    "4 % cropped": lambda image: encode(crop(image, 0.02)),
    "mirrored": lambda image: encode(ImageOps.mirror(image)),
}


def main(source: Path, dirt: Path | None) -> None:
    """Print all measurements as JSON."""
    files = sorted(source.rglob("*.jpg"))
    images = [file.read_bytes() for file in files]
    signatures = [signature_from_bytes(data) for data in images]
    words = gradient_words(signatures)
    known = [signature.has_gradients for signature in signatures]
    distances = np.bitwise_count(words[:, None] ^ words[None]).sum(-1)
    pairs = np.triu(np.outer(known, known), 1)
    record: dict[str, object] = {
        "machine": machine(),
        "commit": commit(),
        "bits": NUM_BITS,
        "max_distance": MAX_DISTANCE,
        "min_clear_bits": MIN_CLEAR_BITS,
        "images": len(images),
        "images_with_gradients": sum(known),
        "pairs_that_differ": int(pairs.sum()),
        "nearest_of_them": np.sort(distances[pairs])[:10].tolist(),
        "taken_for_copies": int((distances[pairs] <= MAX_DISTANCE).sum()),
        "copies": {name: measure(images, known, words, change) for name, change in COPIES.items()},
    }
    if dirt is not None:
        record["dirt"] = {
            path.name: nearest(path, words, files) for path in sorted(dirt.glob("*.jpg"))
        }
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def measure(
    images: list[bytes],
    known: list[bool],
    words: np.ndarray,
    change: Callable[[Image.Image], bytes],
) -> dict[str, float]:
    """Copy all images in one way; return the shares that are found."""
    copies = [
        signature_from_bytes(change(Image.open(io.BytesIO(data)).convert("RGB"))) for data in images
    ]
    changed = gradient_words(copies)
    distances = np.bitwise_count(words ^ changed).sum(-1)[known]
    found = list(near_pairs(words, changed))
    return {
        "found_fraction": round(sum(i == j for i, j, _ in found) / len(images), 4),
        "found_with_another": sum(i != j for i, j, _ in found),
        "distance_median": float(np.median(distances)),
        "distance_99_percent": float(np.percentile(distances, 99)),
    }


def nearest(path: Path, words: np.ndarray, files: list[Path]) -> dict[str, object]:
    """Find the two pictures that a copy is nearest to."""
    own = gradient_words([signature_from_bytes(path.read_bytes())])
    distances = np.bitwise_count(own ^ words).sum(-1)
    first, second = np.argsort(distances)[:2]
    return {
        "nearest": files[first].name,
        "distance": int(distances[first]),
        "distance_of_the_next": int(distances[second]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
