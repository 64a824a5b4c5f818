"""Look through COCO caption files record by record, in memory that hardly grows with them.

Source: the readers of `phiray/data/sources/coco.py` judge each record, here as in training.
Limits: keeps 40 bytes of each caption (image, row, a hash of its text), and each image's path.
"""

import re
from array import array
from collections.abc import Sequence

import numpy as np

from phiray.data.check.repeats import Repeats
from phiray.data.check.report import CheckReport
from phiray.data.sources.annotations import BadRecordError
from phiray.data.sources.coco import (
    caption_of_record,
    check_caption,
    find_image,
    image_of_record,
)
from phiray.data.sources.json_stream import stream_json
from phiray.errors import DataError
from phiray.images.paths import ImageFolder
from phiray.storage import AnyPath
from phiray.types import Progress

RECORDS, CAPTIONS = "image records", "captions"
SPECIAL_TOKEN = re.compile(
    r"<image>|<\|[^|<>\s]{1,40}\|>|</?s>|<(?:unk|pad|bos|eos)>|\[(?:INST|PAD)\]"
)
"""What tokenizers and chat templates give a meaning of its own; in captions it is plain text."""
MISSING = "missing image"
MIN_ID, MAX_ID = -(2**63), 2**63 - 1
"""Of an image: what the arrays of this check hold."""


class CaptionCheck:
    """All caption files of a data set, one after the other."""

    def __init__(self, folder: ImageFolder, report: CheckReport, *, is_partial: bool) -> None:
        """Begin with nothing.

        Args:
            folder: where images are looked for.
            report: filled.
            is_partial: whether images that are not on disk are no fault.
        """
        self.is_partial = is_partial
        self.ids: dict[AnyPath, int] = {}
        """Ids of images whose names do not tell them."""
        self._folder = folder
        self._report = report
        self._texts = Repeats()
        self._rows = array("q")
        """Of each text, its row in its file."""
        self._ends: list[tuple[int, str]] = []
        """Of each file, how many texts there were behind it."""

    def read(self, files: Sequence[AnyPath], *, progress: Progress | None) -> None:
        """Look through all files, and then for captions that stand twice."""
        for file in files:
            try:
                _CaptionFile(file, self._folder, self._report, check=self).read(progress)
            except DataError as error:
                self._report.leak("unusable file", error.message)
            except OSError as error:
                self._report.leak("unusable file", f"{file}: {error.strerror or error}")
            self._ends.append((len(self._texts), file.name))
        for first, repeat in self._texts.find():
            del first
            self._report.note("duplicate caption", self._place(repeat))

    def add_text(self, text: str, *, image_id: int, row: int) -> None:
        """Remember a usable caption."""
        self._texts.add(text, group=image_id)
        self._rows.append(row)

    def _place(self, position: int) -> str:
        name = next(name for end, name in self._ends if position < end)
        return f"{name} annotations[{self._rows[position]}]"


class _CaptionFile:
    """One file: counts its records, and joins captions to images at its end."""

    def __init__(
        self, file: AnyPath, folder: ImageFolder, report: CheckReport, *, check: CaptionCheck
    ) -> None:
        self._file = file
        self._folder = folder
        self._report = report
        self._check = check
        self._image_ids = array("q")
        self._image_rows = array("q")
        self._caption_ids = array("q")
        self._caption_rows = array("q")

    def read(self, progress: Progress | None) -> None:
        """Count all records of the file.

        Raises:
            DataError: if it is no COCO caption file.
        """
        totals = {"images": 0, "annotations": 0}
        for key, row, record in stream_json(self._file, progress=progress):
            place = f"{self._file.name} {key}[{row}]"
            if key == "" and isinstance(record, dict) and "conversations" in record:
                raise DataError(
                    f"{self._file} holds LLaVA conversations. Expected a COCO caption file. Name "
                    "it in data.conversations."
                )
            if key not in totals:
                continue
            totals[key] += 1
            unit, add = (RECORDS, self._image) if key == "images" else (CAPTIONS, self._caption)
            try:
                add(row, record, place=place)
            except BadRecordError as error:
                self._report.find(error.reason, f"{place}: {error.found}", of=unit)
        if not (self._image_ids and self._caption_ids):
            raise DataError(
                f"{self._file} has {len(self._image_ids)} usable images and "
                f"{len(self._caption_ids)} captions. Expected a COCO caption file, with both. Name "
                "a captions_*.json in data.annotations."
            )
        self._report.add_total(RECORDS, totals["images"])
        self._report.add_total(CAPTIONS, totals["annotations"])
        self._report.add_count(CAPTIONS, totals["annotations"])
        self._join()

    def _image(self, row: int, record: object, *, place: str) -> None:
        image_id, name = image_of_record(record)
        if not MIN_ID <= image_id <= MAX_ID:
            raise BadRecordError("bad record", f"id {image_id}")
        self._image_ids.append(image_id)
        self._image_rows.append(row)
        try:
            self._check.ids[find_image(image_id, name, self._folder)] = image_id
        except BadRecordError as error:
            if error.reason != MISSING or not self._check.is_partial:
                raise
            self._report.note(MISSING, f"{place}: {error.found}")

    def _caption(self, row: int, record: object, *, place: str) -> None:
        image_id, text = caption_of_record(record)
        stripped = text.strip()
        if stripped != text:
            self._report.note("caption with outer white space", place)
        if SPECIAL_TOKEN.search(stripped):
            self._report.note("caption with a special token", f"{place}: {stripped!r:.60}")
        check_caption(stripped)
        if type(image_id) is int and MIN_ID <= image_id <= MAX_ID:
            self._caption_ids.append(image_id)
            self._caption_rows.append(row)
            self._check.add_text(stripped, image_id=image_id, row=row)
        else:
            raise BadRecordError("unknown image", f"{image_id!r:.30}")

    def _join(self) -> None:
        """Report what of images and captions does not fit together."""
        ids = np.frombuffer(self._image_ids, dtype=np.int64)
        described = np.frombuffer(self._caption_ids, dtype=np.int64)
        _, firsts = np.unique(ids, return_index=True)
        for at in np.setdiff1d(np.arange(len(ids)), firsts).tolist():
            place = f"{self._file.name} images[{self._image_rows[at]}]: id {ids[at]}"
            self._report.find("duplicate id", place, of=RECORDS)
        for at in np.flatnonzero(~np.isin(described, ids)).tolist():
            place = f"{self._file.name} annotations[{self._caption_rows[at]}]"
            self._report.find("unknown image", place, of=CAPTIONS)
        for image_id in np.setdiff1d(ids, described).tolist():
            self._report.note("no captions", f"{self._file.name}: image {image_id}")
