"""Build token rows turn by turn, so that labels are known and never searched for.

Source: Phi-2 template of LLaVA's v1 prompts, as in TinyLLaVA and Bunny ("USER: ... ASSISTANT:",
turns ended by EOS); captions follow LLaVA's alignment stage, with EOS learnt.
Limits: one image per conversation, in its first human turn; user text is data, so a control token
spelt in it stays text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from phiray.errors import DataError
from phiray.text.tokenizer import Tokenizer
from phiray.types import IGNORE_INDEX

IMAGE_MARKER = "<image>"
"""How LLaVA files mark the image, at either end of the first human turn."""


@dataclass(frozen=True)
class Turn:
    """One question of the user and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class TokenRow:
    """The tokens of one row and what is learnt at each; both have the same length."""

    input_ids: list[int]
    labels: list[int]
    """Not shifted; IGNORE_INDEX where nothing is learnt."""


def caption_row(tokenizer: Tokenizer, caption: str, *, num_patches: int) -> TokenRow:
    """Put the image first, then the caption and EOS, which are learnt."""
    prompt = caption_prompt(tokenizer, num_patches=num_patches)
    answer = answer_tokens(tokenizer, caption)
    return TokenRow(prompt + answer, [IGNORE_INDEX] * len(prompt) + answer)


def caption_prompt(tokenizer: Tokenizer, *, num_patches: int) -> list[int]:
    """Give the row up to where a caption begins: the image alone."""
    return [tokenizer.image_id] * num_patches


def answer_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokenise what is learnt: a blank, the text, EOS. The prompt before it has no last blank."""
    return [*tokenizer.encode(" " + text.strip()), tokenizer.eos_id]


def conversation_row(
    tokenizer: Tokenizer,
    turns: Sequence[Turn],
    *,
    num_patches: int,
    max_length: int,
    system: str,
) -> TokenRow:
    """Render whole turns while they fit; every answer and its EOS are learnt.

    Args:
        tokenizer: gives ids, EOS and the image id.
        turns: at least one; the image marker is taken off the first question.
        num_patches: image positions in the first turn; 0 for a conversation without an image.
        max_length: longest row; later turns that do not fit are left out as a whole.
        system: sentence before the first turn; may be empty.

    Raises:
        DataError: if there is no turn, or the first one does not fit.
    """
    row = TokenRow([], [])
    for index, turn in enumerate(turns):
        prompt = _turn_prompt(
            tokenizer, turn.question, num_patches=num_patches, system=None if index else system
        )
        answer = answer_tokens(tokenizer, turn.answer)
        if len(row.input_ids) + len(prompt) + len(answer) > max_length:
            break
        row.input_ids.extend(prompt + answer)
        row.labels.extend([IGNORE_INDEX] * len(prompt) + answer)
    if not row.input_ids:
        raise DataError(
            f"The first of {len(turns)} turns does not fit into {max_length} tokens with "
            f"{num_patches} image positions. Expected at least one whole turn. Raise "
            "data.max_length."
        )
    return row


def conversation_prompt(
    tokenizer: Tokenizer,
    question: str,
    *,
    num_patches: int,
    system: str,
    history: Sequence[Turn] = (),
) -> list[int]:
    """Give the tokens up to where the answer to `question` begins; they end in "ASSISTANT:"."""
    tokens: list[int] = []
    for index, turn in enumerate(history):
        first = None if index else system
        tokens += _turn_prompt(tokenizer, turn.question, num_patches=num_patches, system=first)
        tokens += answer_tokens(tokenizer, turn.answer)
    first = None if history else system
    return tokens + _turn_prompt(tokenizer, question, num_patches=num_patches, system=first)


def strip_image_marker(text: str) -> str:
    """Take the image marker off either end of a question; one inside the text stays text."""
    return text.strip().removeprefix(IMAGE_MARKER).removesuffix(IMAGE_MARKER).strip()


def _turn_prompt(
    tokenizer: Tokenizer, question: str, *, num_patches: int, system: str | None
) -> list[int]:
    """Render "USER: question ASSISTANT:"; a `system` (even empty) marks the first turn."""
    if system is None:
        return tokenizer.encode(f"USER: {question.strip()} ASSISTANT:")
    head = f"{system} USER: " if system else "USER: "
    question = strip_image_marker(question)
    if num_patches == 0:
        return tokenizer.encode(f"{head}{question} ASSISTANT:")
    image = [tokenizer.image_id] * num_patches
    return [*tokenizer.encode(head), *image, *tokenizer.encode(f"\n{question} ASSISTANT:")]
