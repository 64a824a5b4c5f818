"""Read LLaVA conversation files into images with their turns.

Source: LLaVA docs/Finetune_Custom_Data.md and train.py (liuhaotian/LLaVA).
Limits: one image per conversation, marked once in the first human turn and named in one of COCO's
three forms; rows without an image are left out, since the split is by image id.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from phiray.data.sources.annotations import BadRecordError, Excluded, is_coco, is_llava, read_json
from phiray.data.sources.records import text_fault
from phiray.errors import DataError, ExitCode
from phiray.images.paths import ImageFolder, image_id_from_name
from phiray.storage import AnyPath
from phiray.text.prompts import IMAGE_MARKER, Turn, strip_image_marker
from phiray.types import Progress

SPEAKERS = ("human", "gpt")
"""Who speaks, in turn."""


@dataclass(frozen=True)
class Conversation:
    """An image on disk and what was asked and answered about it."""

    image_id: int
    path: AnyPath
    turns: tuple[Turn, ...]
    """At least one; stripped, not empty, without the image marker."""
    file: str = field(compare=False)
    """Name of the file that it was read from first."""


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
                excluded.append(Excluded("duplicate row", f"{place}: image {row.image_id}"))
            rows[row] = None
    if progress is not None:
        progress("reading conversations", len(files), len(files))
    if not rows and first_missing is not None:
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
    if not isinstance(name, str):
        raise BadRecordError("no image", f"image is {name!r:.60}")
    try:
        path = folder.find(name)
    except DataError as error:
        raise BadRecordError("unsafe name", error.message) from error
    image_id = image_id_from_name(name)
    if image_id is None:
        raise BadRecordError("no image id", f"the name {name!r:.100} has no COCO id")
    turns = _turns(record.get("conversations"))
    if path is None:
        raise BadRecordError("missing image", name)
    return Conversation(image_id, path, turns, file)


def _turns(utterances: object) -> tuple[Turn, ...]:
    """Pair questions with answers; the image marker must stand at an end of the first question."""
    if not isinstance(utterances, list) or not utterances:
        raise BadRecordError("no turns", f"conversations is {utterances!r:.60}")
    texts = []
    for index, utterance in enumerate(utterances):
        texts.append(_text_of_turn(index, utterance))
    if len(texts) % 2:
        raise BadRecordError("unanswered question", f"{len(texts)} turns")
    first, texts[0] = texts[0], strip_image_marker(texts[0])
    if first.count(IMAGE_MARKER) != 1 or IMAGE_MARKER in texts[0]:
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
