"""The images that `bench/images.py` reads: real ones repeated under distinct names, in each form.

Limits: copies of a few hundred pictures, so the files' contents repeat; the page cache is warm.
"""

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

CAPTION = "a photograph of something"
TOKENIZER = "tokenizer/phi-2-reconstructed"
JPEG_FOLDER = "coco/images/train2017"
TAR_ROWS = 500
"""Images in a tar file: about 80 MB, WebDataset's own advice is 100 MB to 1 GB."""


def make_images(samples: Path, folder: Path, *, number: int) -> None:
    """Write `number` JPEG files with distinct COCO names, their captions, and a tokenizer."""
    found = sorted((samples / "coco" / "images").rglob("*.jpg"))
    images = folder / JPEG_FOLDER
    images.mkdir(parents=True)
    names = [f"{index + 1:012d}.jpg" for index in range(number)]
    for index, name in enumerate(names):
        shutil.copyfile(found[index % len(found)], images / name)
    captions = {
        "images": [{"id": index + 1, "file_name": name} for index, name in enumerate(names)],
        "annotations": [
            {"id": index + 1, "image_id": index + 1, "caption": f"{CAPTION} {index}"}
            for index in range(number)
        ],
    }
    (folder / "coco" / "annotations").mkdir()
    file = folder / "coco" / "annotations" / "captions_train2017.json"
    file.write_text(json.dumps(captions))
    shutil.copytree(samples / TOKENIZER, folder / "tokenizer")


def make_tars(folder: Path) -> None:
    """Write the JPEG files into tar files, as WebDataset reads them."""
    (folder / "tars").mkdir()
    files = jpeg_files(folder)
    for number, start in enumerate(range(0, len(files), TAR_ROWS)):
        with tarfile.open(folder / "tars" / f"{number:04d}.tar", "w") as tar:
            for path in files[start : start + TAR_ROWS]:
                data = path.read_bytes()
                entry = tarfile.TarInfo(path.name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def make_mds(folder: Path) -> None:
    """Write the JPEG files into MosaicML's shards, with its own default size of shards."""
    from streaming import MDSWriter  # an optional peer: bench/images.py passes over it if absent

    with MDSWriter(out=str(folder / "mds"), columns={"jpg": "bytes"}, progress_bar=False) as out:
        for path in jpeg_files(folder):
            out.write({"jpg": path.read_bytes()})


def jpeg_files(folder: Path) -> list[Path]:
    """List the JPEG files in order."""
    return sorted((folder / JPEG_FOLDER).iterdir())


def batches(paths: list[Path], size: int) -> Iterator[list[Path]]:
    """Cut a list into batches; the last one may be short."""
    return (paths[start : start + size] for start in range(0, len(paths), size))
