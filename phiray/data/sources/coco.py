"""Read COCO caption files into images with their captions.

Source: pycocotools (`COCO.createIndex` joins captions to images); captions_{train,val}{2014,2017}.
Limits: captions lose their outer white space only; images that are not on disk are left out, since
a partial download is usual, but at least one must be there.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from pycocotools.coco import COCO

from phiray.data.sources.annotations import (
    BadRecordError,
    Excluded,
    is_coco,
    is_llava,
    read_json,
)
from phiray.data.sources.records import text_fault
from phiray.data.split import image_key
from phiray.errors import DataError, ExitCode
from phiray.images.paths import ImageFolder, image_id_from_name
from phiray.storage import AnyPath
from phiray.types import Progress

Record = dict[str, object]


@dataclass(frozen=True)
class CaptionedImage:
    """An image on disk and what people said about it."""

    image_id: int
    path: AnyPath
    captions: tuple[str, ...]
    """Stripped, not empty, no two equal."""

    @property
    def key(self) -> str:
        """What the split goes by."""
        return image_key(self.image_id)

    @property
    def source(self) -> str:
        """One name for all: captions of several files are joined by their image."""
        return "captions"


@dataclass(frozen=True)
class CocoCaptions:
    """The usable images of some caption files, in the order of their ids."""

    images: list[CaptionedImage]
    excluded: list[Excluded]


def read_coco_captions(
    files: Sequence[AnyPath], folder: ImageFolder, *, progress: Progress | None = None
) -> CocoCaptions:
    """Join the captions of all files, by image id.

    Raises:
        DataError: if a file is not a COCO caption file (65), or no image is on disk (66).
    """
    paths: dict[int, AnyPath] = {}
    captions: dict[int, list[str]] = {}
    excluded: list[Excluded] = []
    first_missing: AnyPath | None = None
    for index, file in enumerate(files):
        if progress is not None:
            progress("reading captions", index, len(files))
        coco = _index_file(file, excluded)
        for image_id, image in coco.imgs.items():
            try:
                path = find_image(image_id, str(image["file_name"]), folder)
            except BadRecordError as error:
                detail = f"{file.name} images[{image['row']}]: {error.found}"
                excluded.append(Excluded(error.reason, detail))
                first_missing = first_missing or folder.root / str(image["file_name"])
                continue
            paths.setdefault(image_id, path)
            texts = captions.setdefault(image_id, [])
            _add_captions(coco.imgToAnns[image_id], texts, where=file.name, excluded=excluded)
    if progress is not None:
        progress("reading captions", len(files), len(files))
    if not paths:
        raise _no_image(files, first_missing)
    excluded += [
        Excluded("no captions", f"image {image_id}") for image_id in paths if not captions[image_id]
    ]
    images = [
        CaptionedImage(image_id, paths[image_id], tuple(captions[image_id]))
        for image_id in sorted(paths)
        if captions[image_id]
    ]
    return CocoCaptions(images, excluded)


def _index_file(file: AnyPath, excluded: list[Excluded]) -> COCO:
    """Read a file, keep its well-formed records, and let pycocotools join them."""
    content = read_json(file)
    if is_llava(content):
        raise DataError(
            f"{file} holds LLaVA conversations. Expected a COCO caption file. Name it in "
            "data.conversations, and a captions_*.json in data.annotations."
        )
    if not isinstance(content, dict) or not is_coco(content):
        raise DataError(
            f"{file} has no `images` and `annotations`. Expected a COCO caption file. Name a "
            "captions_*.json in data.annotations."
        )
    images = _images(content["images"], where=file.name, excluded=excluded)
    known = {image["id"] for image in images}
    annotations = _annotations(content["annotations"], known, where=file.name, excluded=excluded)
    if not images or not annotations:
        raise DataError(
            f"{file} has {len(images)} usable images and {len(annotations)} captions. Expected at "
            "least one of each. Name a captions_*.json (not instances_*.json) in data.annotations."
        )
    coco = COCO()
    coco.dataset = {"images": images, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        coco.createIndex()
    return coco


def image_of_record(record: object) -> tuple[int, str]:
    """Read id and file name of an image record.

    Raises:
        BadRecordError: unless it has an integer id and a file name.
    """
    image_id = record.get("id") if isinstance(record, dict) else None
    name = record.get("file_name") if isinstance(record, dict) else None
    if type(image_id) is not int or not isinstance(name, str):
        raise BadRecordError("bad record", f"{record!r:.100}")
    return image_id, name


def caption_of_record(record: object) -> tuple[object, str]:
    """Read image id and text of a caption record; instances have no caption.

    Raises:
        BadRecordError: unless it has a caption.
    """
    caption = record.get("caption") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(caption, str):
        raise BadRecordError("bad record", f"{record!r:.100}")
    return record.get("image_id"), caption


def check_caption(text: str) -> None:
    """Refuse a caption that no model can learn from.

    Raises:
        BadRecordError: if nothing of it is visible, or it is not Unicode.
    """
    if not text.strip():
        raise BadRecordError("empty caption", f"{len(text)} characters")
    if fault := text_fault(text):
        raise BadRecordError(*fault)


def find_image(image_id: int, name: str, folder: ImageFolder) -> AnyPath:
    """Find the file of an image record, whose name must not claim another id.

    Raises:
        BadRecordError: if it claims one, leads out of the folder, or is not there.
    """
    if image_id_from_name(name) not in (None, image_id):
        raise BadRecordError("id mismatch", f"image {image_id} is named {name!r:.100}")
    try:
        path = folder.find(name)
    except DataError as error:
        raise BadRecordError("unsafe name", f"image {image_id}: {error.message}") from error
    if path is None:
        raise BadRecordError("missing image", name)
    return path


def _images(records: object, *, where: str, excluded: list[Excluded]) -> list[Record]:
    """Keep the image records that have an integer id, seen once, and a file name."""
    images: dict[int, Record] = {}
    for row, record in enumerate(records if isinstance(records, list) else []):
        place = f"{where} images[{row}]"
        try:
            image_id, name = image_of_record(record)
        except BadRecordError as error:
            excluded.append(Excluded(error.reason, f"{place}: {error.found}"))
            continue
        if image_id in images:
            excluded.append(Excluded("duplicate id", f"{place}: id {image_id}"))
        else:
            images[image_id] = {"id": image_id, "file_name": name, "row": row}
    return list(images.values())


def _annotations(
    records: object, known: set[object], *, where: str, excluded: list[Excluded]
) -> list[Record]:
    """Keep the caption records of known images."""
    annotations: list[Record] = []
    for row, record in enumerate(records if isinstance(records, list) else []):
        place = f"{where} annotations[{row}]"
        try:
            image_id, caption = caption_of_record(record)
        except BadRecordError as error:
            excluded.append(Excluded(error.reason, f"{place}: {error.found}"))
            continue
        if type(image_id) is not int or image_id not in known:
            excluded.append(Excluded("unknown image", f"{place}: {image_id!r:.30}"))
        else:
            annotations.append({"id": row, "image_id": image_id, "caption": caption})
    return annotations


def _add_captions(
    annotations: list[Record], texts: list[str], *, where: str, excluded: list[Excluded]
) -> None:
    for annotation in annotations:
        text, place = str(annotation["caption"]).strip(), f"{where} annotations[{annotation['id']}]"
        try:
            check_caption(text)
        except BadRecordError as error:
            excluded.append(Excluded(error.reason, f"{place}: {error.found}"))
            continue
        if text in texts:
            excluded.append(Excluded("duplicate caption", place))
        else:
            texts.append(text)


def _no_image(files: Sequence[AnyPath], first_missing: AnyPath | None) -> DataError:
    return DataError(
        f"No image of {', '.join(file.name for file in files)} is on disk; the first one tried is "
        f"{first_missing}. Expected their JPEG files below data.images. Set data.images to the "
        "folder that holds them, or download the images of these captions.",
        exit_code=ExitCode.MISSING_INPUT,
    )
