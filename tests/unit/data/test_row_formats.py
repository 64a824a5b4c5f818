"""How examples become rows: each text one row, and too long a one is refused."""

from pathlib import Path

import pytest

from phiray.data.row_formats import CaptionFormat, ConversationFormat
from phiray.data.sources.coco import CaptionedImage
from phiray.data.sources.conversations import Conversation
from phiray.errors import DataError
from phiray.text.prompts import Turn, caption_row, conversation_row
from phiray.text.tokenizer import Tokenizer
from tests.text_builders import write_tokenizer

PATCHES = 3
IMAGE = CaptionedImage(7, Path("7.jpg"), ("A box.", "Two boxes in a row."))
TURNS = (Turn("What is it?", "A box."), Turn("Where?", "Left."))
TALK = Conversation(7, Path("7.jpg"), TURNS, "talks.json")


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer.load(write_tokenizer(tmp_path))


def test_each_caption_is_a_row(tokenizer: Tokenizer) -> None:
    rows = CaptionFormat(tokenizer, PATCHES, max_length=100)
    assert rows.texts(IMAGE) == ["7:A box.", "7:Two boxes in a row."]
    for index, caption in enumerate(IMAGE.captions):
        expected = caption_row(tokenizer, caption, num_patches=PATCHES)
        assert rows.token_row(IMAGE, index) == expected
        assert rows.needed_length(IMAGE, index) == len(expected.input_ids)


def test_a_conversation_is_one_row_that_needs_its_first_turn(tokenizer: Tokenizer) -> None:
    rows = ConversationFormat(tokenizer, PATCHES, max_length=1000, system="Be kind.")
    whole, first = (
        conversation_row(tokenizer, turns, num_patches=PATCHES, max_length=1000, system="Be kind.")
        for turns in (TURNS, TURNS[:1])
    )
    assert len(rows.texts(TALK)) == 1
    assert rows.token_row(TALK, 0) == whole
    assert rows.needed_length(TALK, 0) == len(first.input_ids)
    tight = ConversationFormat(tokenizer, PATCHES, len(first.input_ids), system="Be kind.")
    assert tight.token_row(TALK, 0) == first


def test_rows_that_do_not_fit_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"^\d+ tokens, over 4$"):
        CaptionFormat(tokenizer, PATCHES, max_length=4).token_row(IMAGE, 0)
    with pytest.raises(DataError, match="first of 2 turns does not fit into 4 tokens"):
        ConversationFormat(tokenizer, PATCHES, 4, system="").token_row(TALK, 0)


def test_settings_tell_rows_apart(tokenizer: Tokenizer) -> None:
    settings = [
        CaptionFormat(tokenizer, PATCHES, 9).settings,
        CaptionFormat(tokenizer, PATCHES + 1, 9).settings,
        CaptionFormat(tokenizer, PATCHES, 10).settings,
        ConversationFormat(tokenizer, PATCHES, 9, "").settings,
        ConversationFormat(tokenizer, PATCHES, 9, "Be kind.").settings,
    ]
    assert len({tuple(item) for item in settings}) == len(settings)
