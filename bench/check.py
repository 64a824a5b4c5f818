"""Measure `phiray data check`: rows a second and memory, of generated rows and of real images.

    python bench/check.py [IMAGES] > bench/results/check.json

Each size is a process of its own: captions in COCO's form with five an image, a fifth as many
conversations, and web rows, all distinct. IMAGES is a folder of real photographs, for the
decoding.

Limits: 1,000 small pictures stand for those on disk; the others are left out, as after a download
of a part (`--partial`). Times are of a machine that does nothing else.
"""

import io
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from subprocess import run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SIZES = (100_000, 300_000, 1_000_000)
NUM_PICTURES = 1000
CAPTIONS_PER_IMAGE = 5
WORDS = [
    "a",
    "man",
    "riding",
    "wave",
    "on",
    "top",
    "of",
    "two",
    "dogs",
    "play",
    "near",
    "red",
    "house",
]


def main(images: list[str]) -> None:
    """Print all measurements as JSON."""
    from bench.contention import commit
    from bench.demo import machine

    record: dict[str, object] = {"machine": machine(), "commit": commit(), "rows": []}
    found = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_rows(Path(folder), num_captions=size)
            found.append({"captions": size, **measure(folder)})
    record["rows"] = found
    if images:
        record["images"] = measure_images(Path(images[0]))
    json.dump(record, sys.stdout, indent=1)
    sys.stdout.write("\n")


def write_rows(root: Path, *, num_captions: int) -> None:
    """Write captions, conversations, web rows and a few pictures."""
    import numpy as np
    from PIL import Image

    rng = random.Random(0)
    num_images = num_captions // CAPTIONS_PER_IMAGE

    def text(number: int) -> str:
        return " ".join(rng.choices(WORDS, k=10)) + f" {number}."

    folder = root / "coco" / "images" / "train2017"
    folder.mkdir(parents=True)
    for image_id in range(1, NUM_PICTURES + 1):
        colours = np.random.default_rng(image_id).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(colours).resize((64, 64)).save(buffer, "JPEG")
        (folder / f"{image_id:012d}.jpg").write_bytes(buffer.getvalue())
    content = {
        "info": {},
        "images": [
            {"id": i, "file_name": f"{i:012d}.jpg", "height": 480, "width": 640}
            for i in range(1, num_images + 1)
        ],
        "annotations": [
            {"id": i, "image_id": 1 + i // CAPTIONS_PER_IMAGE, "caption": text(i)}
            for i in range(num_captions)
        ],
    }
    write(root / "coco" / "annotations" / "captions_train2017.json", content)
    rows = [
        {
            "id": str(i),
            "image": f"{1 + i % NUM_PICTURES:012d}.jpg",
            "conversations": [
                {"from": "human", "value": f"<image>\n{text(i)}"},
                {"from": "gpt", "value": text(i)},
            ],
        }
        for i in range(num_images)
    ]
    write(root / "instruct" / "llava_instruct_150k.json", rows)
    (root / "redpajama").mkdir()
    with (root / "redpajama" / "cc_sample.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": text(i)}) + "\n" for i in range(num_images))


def write(path: Path, content: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def measure(folder: str) -> dict[str, object]:
    """Check a folder in a process of its own."""
    words = [sys.executable, __file__, "check", folder]
    result: dict[str, object] = json.loads(run(words, check=True, capture_output=True).stdout)
    return result


def check(folder: Path) -> dict[str, object]:
    """Check a folder; return seconds by phase, rows a second, and the peak of this process."""
    from phiray.data.check.run import check_data

    phases: dict[str, list[float]] = {}

    def tell(description: str, *_: int) -> None:
        now = time.perf_counter()
        phases.setdefault(description, [now, now])[1] = now

    before = memory_mb("VmRSS")
    start = time.perf_counter()
    report = check_data(folder, is_partial=True, progress=tell)
    seconds = time.perf_counter() - start
    rows = sum(report.totals[unit] for unit in report.totals if "image" not in unit)
    return {
        "rows": rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "seconds_by_phase": {what: round(end - begin, 2) for what, (begin, end) in phases.items()},
        "peak_memory_mb": memory_mb("VmHWM"),
        "of_it_before_mb": before,
        "is_fit": not report.verdict(0.01),
    }


def memory_mb(name: str) -> int:
    """Read a figure of this process; `ru_maxrss` would begin with that of the process before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(int(next(line.split()[1] for line in lines if line.startswith(name))) / 1024)


def measure_images(source: Path) -> dict[str, object]:
    """Check real photographs alone."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "coco").mkdir()
        (Path(folder) / "coco" / "images").symlink_to(source.resolve())
        found = measure(folder)
    num_images = sum(1 for _ in source.rglob("*.jpg"))
    phases = found["seconds_by_phase"]
    assert isinstance(phases, dict)
    decoding = phases["decoding images"]
    return {
        "images": num_images,
        "seconds_decoding_and_signing": decoding,
        "images_per_second": round(num_images / decoding),
        "peak_memory_mb": found["peak_memory_mb"],
        "of_it_before_mb": found["of_it_before_mb"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        json.dump(check(Path(sys.argv[2])), sys.stdout)
    else:
        main(sys.argv[1:])
