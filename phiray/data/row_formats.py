"""How captions and conversations become the tokens of rows.

Source: `phiray/text/prompts.py` builds the rows; DESIGN 6 (a row is a position).
Limits: nothing is read here; a row is tokenised each time it is asked for.
"""

import sys
from dataclasses import dataclass
from typing import Protocol, TypeVar

from phiray.data.sources.coco import CaptionedImage
from phiray.data.sources.conversations import Conversation
from phiray.errors import DataError
from phiray.text.prompts import TokenRow, caption_row, conversation_row
from phiray.text.tokenizer import Tokenizer

CHARACTERS_PER_TOKEN = 4
"""Of English in a vocabulary of 50,000, about."""
_Given = TypeVar("_Given", contravariant=True)


class RowFormat(Protocol[_Given]):
    """How an example becomes rows, counted from 0 for each example."""

    @property
    def tokenizer(self) -> Tokenizer:
        """It makes the ids."""
        ...

    @property
    def settings(self) -> list[str]:
        """What the rows depend on beside texts and tokenizer."""
        ...

    def texts(self, example: _Given) -> list[str]:
        """Name image and text of each row of an example."""
        ...

    def token_row(self, example: _Given, index: int) -> TokenRow:
        """Build a row of an example.

        Raises:
            DataError: if it is too long.
        """
        ...

    def needed_length(self, example: _Given, index: int) -> int:
        """Return the tokens that a row takes at least, whether they fit or not."""
        ...

    def estimate_length(self, example: _Given, index: int) -> int:
        """Say about how many tokens a row has, without tokenising it."""
        ...


@dataclass(frozen=True)
class CaptionFormat:
    """One row per image and caption: the image, then the caption, which is learnt."""

    tokenizer: Tokenizer
    num_patches: int
    max_length: int
    """Longest row in tokens, image positions included."""

    @property
    def settings(self) -> list[str]:
        """What the rows depend on beside texts and tokenizer."""
        return ["caption", str(self.num_patches), str(self.max_length)]

    def texts(self, example: CaptionedImage) -> list[str]:
        """Name image and text of each row of an image."""
        return [f"{example.image_id}:{caption}" for caption in example.captions]

    def token_row(self, example: CaptionedImage, index: int) -> TokenRow:
        """Build the row of a caption.

        Raises:
            DataError: if it is too long.
        """
        row = self._whole_row(example, index)
        if len(row.input_ids) > self.max_length:
            raise DataError(f"{len(row.input_ids)} tokens, over {self.max_length}")
        return row

    def needed_length(self, example: CaptionedImage, index: int) -> int:
        """Return the tokens of a row, whether they fit or not."""
        return len(self._whole_row(example, index).input_ids)

    def estimate_length(self, example: CaptionedImage, index: int) -> int:
        """Estimate the tokens of a row from the characters of its caption."""
        return self.num_patches + len(example.captions[index]) // CHARACTERS_PER_TOKEN

    def _whole_row(self, example: CaptionedImage, index: int) -> TokenRow:
        return caption_row(self.tokenizer, example.captions[index], num_patches=self.num_patches)


@dataclass(frozen=True)
class ConversationFormat:
    """One row per conversation: its image, if any, in the first turn; every answer is learnt."""

    tokenizer: Tokenizer
    num_patches: int
    max_length: int
    """Longest row in tokens; turns that do not fit are left out as a whole."""
    system: str
    """Sentence before the first turn; may be empty."""

    @property
    def settings(self) -> list[str]:
        """What the rows depend on beside texts and tokenizer."""
        return ["conversation", str(self.num_patches), str(self.max_length), self.system]

    def texts(self, example: Conversation) -> list[str]:
        """Name image and turns of the one row of a conversation."""
        return [f"{example.image_id}:{example.turns!r}"]

    def token_row(self, example: Conversation, index: int) -> TokenRow:  # noqa: ARG002 (it is 0)
        """Build the row of a conversation.

        Raises:
            DataError: if its first turn does not fit.
        """
        return self._row_of(example, num_turns=None, max_length=self.max_length)

    def needed_length(self, example: Conversation, index: int) -> int:  # noqa: ARG002 (it is 0)
        """Return the tokens of the first turn, without which there is no row."""
        return len(self._row_of(example, num_turns=1, max_length=sys.maxsize).input_ids)

    def estimate_length(self, example: Conversation, index: int) -> int:  # noqa: ARG002 (it is 0)
        """Estimate the tokens of a row from the characters of its turns, as many as fit."""
        num_characters = sum(len(turn.question) + len(turn.answer) for turn in example.turns)
        num_patches = 0 if example.path is None else self.num_patches
        num_tokens = num_patches + (len(self.system) + num_characters) // CHARACTERS_PER_TOKEN
        return min(num_tokens, self.max_length)

    def _row_of(self, example: Conversation, *, num_turns: int | None, max_length: int) -> TokenRow:
        return conversation_row(
            self.tokenizer,
            example.turns[:num_turns],
            num_patches=0 if example.path is None else self.num_patches,
            max_length=max_length,
            system=self.system,
        )
