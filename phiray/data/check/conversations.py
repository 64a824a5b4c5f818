"""Look through LLaVA conversation files row by row, in memory that hardly grows with them.

Source: the reader of `phiray/data/sources/conversations.py` judges each row, here as in training.
Limits: 24 bytes are kept of each row: which image, a hash of its turns, its place.
"""

from array import array
from collections.abc import Sequence

from phiray.data.check.captions import MISSING, SPECIAL_TOKEN
from phiray.data.check.repeats import Repeats
from phiray.data.check.report import CheckReport
from phiray.data.sources.annotations import BadRecordError
from phiray.data.sources.conversations import Conversation, conversation_of_record
from phiray.data.sources.json_stream import stream_json
from phiray.errors import DataError
from phiray.images.paths import ImageFolder
from phiray.storage import AnyPath
from phiray.types import Progress

CONVERSATIONS = "conversations"
_NO_IMAGE = -1


class ConversationCheck:
    """All conversation files of a data set, one after the other."""

    def __init__(self, folder: ImageFolder, report: CheckReport, *, is_partial: bool) -> None:
        """Begin with nothing.

        Args:
            folder: where images are looked for.
            report: filled.
            is_partial: whether images that are not on disk are no fault.
        """
        self._folder = folder
        self._report = report
        self._is_partial = is_partial
        self._seen = Repeats()
        self._rows = array("q")
        self._ends: list[tuple[int, str]] = []

    def read(self, files: Sequence[AnyPath], *, progress: Progress | None) -> None:
        """Look through all files, and then for rows that stand twice."""
        for file in files:
            try:
                self._read_file(file, progress=progress)
            except DataError as error:
                self._report.leak("unusable file", error.message)
            except OSError as error:
                self._report.leak("unusable file", f"{file}: {error.strerror or error}")
            self._ends.append((len(self._seen), file.name))
        for first, repeat in self._seen.find():
            del first
            name = next(name for end, name in self._ends if repeat < end)
            self._report.note("duplicate row", f"{name}[{self._rows[repeat]}]")

    def _read_file(self, file: AnyPath, *, progress: Progress | None) -> None:
        """Count all rows of a file.

        Raises:
            DataError: if it is no LLaVA conversation file.
        """
        number = 0
        for key, row, record in stream_json(file, progress=progress):
            if key or (row == 0 and not (isinstance(record, dict) and CONVERSATIONS in record)):
                raise _no_conversations(file)
            number += 1
            place = f"{file.name}[{row}]"
            try:
                conversation = conversation_of_record(record, self._folder, file=file.name)
            except BadRecordError as error:
                self._report_bad(error, place)
                continue
            self._look_at(conversation, row, place=place)
        if not number:
            raise _no_conversations(file)
        self._report.add_count(CONVERSATIONS, number)
        self._report.add_total(CONVERSATIONS, number)

    def _report_bad(self, error: BadRecordError, place: str) -> None:
        if error.reason == MISSING and self._is_partial:
            self._report.note(MISSING, f"{place}: {error.found}")
        else:
            self._report.find(error.reason, f"{place}: {error.found}", of=CONVERSATIONS)

    def _look_at(self, conversation: Conversation, row: int, *, place: str) -> None:
        texts = [text for turn in conversation.turns for text in (turn.question, turn.answer)]
        if any(SPECIAL_TOKEN.search(text) for text in texts):
            self._report.note("conversation with a special token", place)
        if conversation.image_id is None:
            self._report.add_count(f"{CONVERSATIONS} without an image", 1)
        image_id = _NO_IMAGE if conversation.image_id is None else conversation.image_id
        self._seen.add("\0".join(texts), group=image_id)
        self._rows.append(row)


def _no_conversations(file: AnyPath) -> DataError:
    return DataError(
        f"{file} is no list of rows with `conversations`. Expected a LLaVA conversation file. Name "
        "a file such as llava_instruct_150k.json in data.conversations, and COCO's files in "
        "data.annotations."
    )
