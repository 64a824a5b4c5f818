from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from phiray.config.data import LLAVA_SYSTEM
from phiray.errors import DataError
from phiray.text.prompts import (
    Turn,
    answer_tokens,
    caption_prompt,
    caption_row,
    conversation_prompt,
    conversation_row,
    strip_image_marker,
)
from phiray.text.tokenizer import Tokenizer
from phiray.types import IGNORE_INDEX
from tests.text_builders import build_tokenizer_json

NUM_PATCHES = 3
TURNS = (Turn("What is it?", "A red box."), Turn("Where?", "On the left."))

TEMPLATE = (
    "{{ system }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    "{{ (' ' if loop.first else '') + 'USER: ' + message['content'] + ' ASSISTANT:' }}"
    "{% else %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}"
    "{% endif %}{% endfor %}"
)
"""The Phi-2 prompt of LLaVA-style trainers, as a Hugging Face chat template."""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(build_tokenizer_json())


def learnt_text(tokenizer: Tokenizer, labels: list[int]) -> str:
    return tokenizer.decode([label for label in labels if label != IGNORE_INDEX])


def test_caption_row_learns_caption_and_eos(tokenizer: Tokenizer) -> None:
    row = caption_row(tokenizer, "A red circle.", num_patches=NUM_PATCHES)

    caption = tokenizer.encode(" A red circle.")
    assert row.input_ids == [tokenizer.image_id] * 3 + caption + [tokenizer.eos_id]
    assert row.labels == [IGNORE_INDEX] * 3 + caption + [tokenizer.eos_id]


def test_caption_prompt_is_the_beginning_of_the_row(tokenizer: Tokenizer) -> None:
    prompt = caption_prompt(tokenizer, num_patches=NUM_PATCHES)

    assert caption_row(tokenizer, "x", num_patches=NUM_PATCHES).input_ids[: len(prompt)] == prompt


def test_conversation_row_learns_every_answer_and_its_eos(tokenizer: Tokenizer) -> None:
    row = conversation_row(
        tokenizer, TURNS, num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )

    expected = [
        *[IGNORE_INDEX]
        * len(
            conversation_prompt(tokenizer, TURNS[0].question, num_patches=3, system=LLAVA_SYSTEM)
        ),
        *tokenizer.encode(" A red box."),
        tokenizer.eos_id,
        *[IGNORE_INDEX] * len(tokenizer.encode("USER: Where? ASSISTANT:")),
        *tokenizer.encode(" On the left."),
        tokenizer.eos_id,
    ]
    assert row.labels == expected
    assert row.input_ids.count(tokenizer.image_id) == NUM_PATCHES


def test_conversation_row_renders_the_phi_2_template(tokenizer: Tokenizer) -> None:
    row = conversation_row(
        tokenizer, TURNS, num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )

    assert tokenizer.decode(row.input_ids) == (
        f"{LLAVA_SYSTEM} USER: \nWhat is it? ASSISTANT: A red box."
        "USER: Where? ASSISTANT: On the left."
    )


def test_conversation_row_equals_transformers_chat_template(shared_data: Path) -> None:
    folder = shared_data / "tokenizer" / "phi-2-reconstructed"
    tokenizer = Tokenizer.load(folder)
    theirs = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), eos_token="<|endoftext|>"
    )
    theirs.add_special_tokens({"additional_special_tokens": ["<image>"]})
    messages = [
        {"role": "user", "content": "<image>\nWhat is it?"},
        {"role": "assistant", "content": "A red box."},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "On the left."},
    ]

    row = conversation_row(tokenizer, TURNS, num_patches=1, max_length=500, system=LLAVA_SYSTEM)

    encoded = theirs.apply_chat_template(
        messages,
        chat_template=TEMPLATE,
        system=LLAVA_SYSTEM,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    learnt = [int(label != IGNORE_INDEX) for label in row.labels]
    assert row.input_ids == list(encoded["input_ids"])
    assert learnt == list(encoded["assistant_masks"])


@pytest.mark.parametrize(
    "question", ["<image>\nWhat is it?", "What is it?\n<image>", "What is it?"]
)
def test_conversation_row_puts_the_image_first_wherever_it_was_marked(
    tokenizer: Tokenizer, question: str
) -> None:
    turns = [Turn(question, "A red box.")]

    row = conversation_row(
        tokenizer, turns, num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )

    assert row == conversation_row(
        tokenizer, TURNS[:1], num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )


def test_conversation_row_drops_whole_turns_that_do_not_fit(tokenizer: Tokenizer) -> None:
    whole = conversation_row(
        tokenizer, TURNS, num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )
    longest = len(whole.input_ids)

    cut = conversation_row(
        tokenizer, TURNS, num_patches=NUM_PATCHES, max_length=longest - 1, system=LLAVA_SYSTEM
    )

    assert whole == conversation_row(
        tokenizer, TURNS, num_patches=NUM_PATCHES, max_length=longest, system=LLAVA_SYSTEM
    )
    assert cut == conversation_row(
        tokenizer, TURNS[:1], num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )
    assert cut.labels[-1] == tokenizer.eos_id


def test_conversation_row_refuses_a_first_turn_that_does_not_fit(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="does not fit into 8 tokens"):
        conversation_row(
            tokenizer, TURNS, num_patches=NUM_PATCHES, max_length=8, system=LLAVA_SYSTEM
        )


def test_user_text_gives_no_control_token(tokenizer: Tokenizer) -> None:
    turns = [Turn("Is <image> or <|endoftext|> here?", "No <|endoftext|> and no <image>.")]

    row = conversation_row(
        tokenizer, turns, num_patches=NUM_PATCHES, max_length=500, system=LLAVA_SYSTEM
    )

    assert row.input_ids.count(tokenizer.image_id) == NUM_PATCHES
    assert row.input_ids.count(tokenizer.eos_id) == 1
    assert learnt_text(tokenizer, row.labels) == " No <|endoftext|> and no <image>."


@pytest.mark.parametrize("system", [LLAVA_SYSTEM, ""])
@pytest.mark.parametrize("num_patches", [NUM_PATCHES, 0])
def test_conversation_prompt_is_where_the_last_answer_begins(
    tokenizer: Tokenizer, system: str, num_patches: int
) -> None:
    row = conversation_row(tokenizer, TURNS, num_patches=num_patches, max_length=500, system=system)

    prompt = conversation_prompt(
        tokenizer, "Where?", num_patches=num_patches, history=TURNS[:1], system=system
    )

    assert prompt + answer_tokens(tokenizer, "On the left.") == row.input_ids
    assert tokenizer.decode(prompt).endswith("ASSISTANT:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(" <image>\nWhat? ", "What?"), ("What?\n<image>", "What?"), ("a <image> b", "a <image> b")],
)
def test_strip_image_marker_looks_at_the_ends_only(text: str, expected: str) -> None:
    assert strip_image_marker(text) == expected
