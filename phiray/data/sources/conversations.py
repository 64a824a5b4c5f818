"""Read LLaVA conversation files into turns, with their image where they have one.

Source: LLaVA docs/Finetune_Custom_Data.md and train.py (liuhaotian/LLaVA), whose mixes hold rows
without `image`: text alone.
Limits: at most one image per conversation, marked once in the first human turn and named in one of
COCO's three forms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phiray.data.sources.annotations import BadRecordError, Excluded, is_coco, is_llava, read_json
from phiray.data.sources.records import text_fault
from phiray.data.split import document_key, image_key
from phiray.errors import DataError, ExitCode
from phiray.images.paths import ImageFolder, image_id_from_name
from phiray.storage import AnyPath
from phiray.text.prompts import IMAGE_MARKER, Turn, strip_image_marker
from phiray.types import Progress

SPEAKERS = ("human", "gpt")
"""Who speaks, in turn."""


@dataclass(frozen=True)
class Conversation:
    """What was asked and answered, about an image on disk or without one."""

    image_id: int | None
    """None for text alone, and so is `path`."""
    path: AnyPath | None
    turns: tuple[Turn, ...]
    """At least one; stripped, not empty, without the image marker."""
    file: str = field(compare=False)
    """Name of the file that it was read from first."""

    @property
    def source(self) -> str:
        """Its source in a mixture: that file's name without the suffix."""
        return Path(self.file).stem

    @property
    def key(self) -> str:
        """What the split goes by: the image; the text where there is none."""
        if self.image_id is not None:
            return image_key(self.image_id)
        texts = (text for turn in self.turns for text in (turn.question, turn.answer))
        return document_key("\n".join(texts))


@dataclass(frozen=True)
class Conversations:
    """The usable rows of some conversation files, in the order of the files."""

    rows: list[Conversation]
    excluded: list[Excluded]


def read_conversations(
    files: Sequence[AnyPath], folder: ImageFolder, *, progress: Progress | None = None
) -> Conversations:
    """Read and validate all rows of all files.

    Raises:
        DataError: if a file is not a LLaVA conversation file (65), or no image is on disk (66).
    """
    rows: dict[Conversation, None] = {}  # in order, and equal rows once
    excluded: list[Excluded] = []
    first_missing: str | None = None
    for number, file in enumerate(files):
        if progress is not None:
            progress("reading conversations", number, len(files))
        for index, record in enumerate(_records(file)):
            place = f"{file.name}[{index}]"
            try:
                row = conversation_of_record(record, folder, file=file.name)
            except BadRecordError as error:
                excluded.append(Excluded(error.reason, f"{place}: {error.found}"))
                if error.reason == "missing image" and first_missing is None:
                    first_missing = error.found
                continue
            if row in rows:
                excluded.append(Excluded("duplicate row", f"{place}: {row.key:.40}"))
            rows[row] = None
    if progress is not None:
        progress("reading conversations", len(files), len(files))
    if first_missing is not None and all(row.path is None for row in rows):
        raise DataError(
            f"No image of {', '.join(file.name for file in files)} is on disk; the first one tried "
            f"is {folder.root / first_missing}. Expected their JPEG files below data.images. Set "
            "data.images to the folder that holds them.",
            exit_code=ExitCode.MISSING_INPUT,
        )
    return Conversations(list(rows), excluded)


def _records(file: AnyPath) -> list[object]:
    content = read_json(file)
    if is_coco(content):
        raise DataError(
            f"{file} is a COCO annotation file. Expected LLaVA conversations. Name it in "
            "data.annotations, and a file such as llava_instruct_150k.json in data.conversations."
        )
    if not isinstance(content, list) or not is_llava(content):
        raise DataError(
            f"{file} is no list of rows with `conversations`. Expected a LLaVA conversation file. "
            "Name a file such as llava_instruct_150k.json in data.conversations."
        )
    return content


def conversation_of_record(record: object, folder: ImageFolder, *, file: str) -> Conversation:
    """Validate one row.

    Raises:
        BadRecordError: if it cannot be trained on.
    """
    if not isinstance(record, dict):
        raise BadRecordError("bad record", f"{record!r:.100}")
    name = record.get("image")
    if name is None:
        return Conversation(None, None, _turns(record.get("conversations"), has_image=False), file)
    if not isinstance(name, str):
        raise BadRecordError("no image", f"image is {name!r:.60}")
    try:
        path = folder.find(name)
    except DataError as error:
        raise BadRecordError("unsafe name", error.message) from error
    image_id = image_id_from_name(name)
    if image_id is None:
        raise BadRecordError("no image id", f"the name {name!r:.100} has no COCO id")
    turns = _turns(record.get("conversations"), has_image=True)
    if path is None:
        raise BadRecordError("missing image", name)
    return Conversation(image_id, path, turns, file)


def _turns(utterances: object, *, has_image: bool) -> tuple[Turn, ...]:
    """Pair questions with answers; an image is marked at an end of the first question, and once.

    Without an image a marker there says that one was lost; inside the text it is only text.
    """
    if not isinstance(utterances, list) or not utterances:
        raise BadRecordError("no turns", f"conversations is {utterances!r:.60}")
    texts = []
    for index, utterance in enumerate(utterances):
        texts.append(_text_of_turn(index, utterance))
    if len(texts) % 2:
        raise BadRecordError("unanswered question", f"{len(texts)} turns")
    first, texts[0] = texts[0], strip_image_marker(texts[0])
    is_marked_once = first.count(IMAGE_MARKER) == 1 and IMAGE_MARKER not in texts[0]
    if not (is_marked_once if has_image else first == texts[0]):
        raise BadRecordError("bad image marker", f"the first question is {first!r:.100}")
    for index, text in enumerate(texts):
        if not text:
            raise BadRecordError("empty turn", f"turn {index} has no text")
        if fault := text_fault(text):
            raise BadRecordError(fault[0], f"turn {index}: {fault[1]}")
    return tuple(
        Turn(question, answer) for question, answer in zip(texts[::2], texts[1::2], strict=True)
    )


def _text_of_turn(index: int, utterance: object) -> str:
    """Return what the speaker whose turn it is says, stripped."""
    speaker = utterance.get("from") if isinstance(utterance, dict) else None
    text = utterance.get("value") if isinstance(utterance, dict) else None
    if speaker not in SPEAKERS:
        raise BadRecordError("unknown speaker", f"turn {index} is {utterance!r:.60}")
    if speaker != SPEAKERS[index % 2]:
        raise BadRecordError("speakers out of order", f"turn {index} is of {speaker!r}")
    if not isinstance(text, str):
        raise BadRecordError("no text", f"turn {index} is {text!r:.60}")
    return text.strip()
