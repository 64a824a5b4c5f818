"""Prompts of any length, answered in their order."""

import numpy as np

from phiray.evals.generation import generate_texts, prompt_candidate
from tests.model_builders import phi_config, random_ids, tiny_phi
from tests.unit.evals.toys import OracleModel, byte_tokenizer


def test_generate_texts_keeps_the_order_of_prompts_of_different_length() -> None:
    tokenizer = byte_tokenizer()
    letters = [tokenizer.encode(letter)[0] for letter in "abc"]
    prompts = [
        prompt_candidate([9] * length, np.full((3, 1, 1), letter, dtype=np.uint8))
        for length, letter in zip((2, 1, 2), letters, strict=True)
    ]
    model = OracleModel(
        tokenizer.vocab_size, eos_id=tokenizer.eos_id, prompt_length=2, text_length=3
    )
    told: list[int] = []
    texts = generate_texts(
        model,
        prompts,
        tokenizer=tokenizer,
        batch_size=8,
        max_new_tokens=10,
        progress=lambda _what, done, _total: told.append(done),
    )
    assert texts == ["aaa", "bbbb", "ccc"]
    assert told == [1, 3]


def test_generate_texts_cuts_what_does_not_end() -> None:
    tokenizer = byte_tokenizer()
    letter = tokenizer.encode("z")[0]
    model = OracleModel(
        tokenizer.vocab_size, eos_id=tokenizer.eos_id, prompt_length=1, text_length=99
    )
    prompt = prompt_candidate([9], np.full((3, 1, 1), letter, dtype=np.uint8))
    assert generate_texts(model, [prompt], tokenizer=tokenizer, batch_size=1, max_new_tokens=4) == [
        "zzzz"
    ]


def test_generate_texts_lets_a_prompt_near_the_last_position_say_what_fits() -> None:
    tokenizer = byte_tokenizer()
    positions = phi_config().max_position_embeddings
    prompts = [
        prompt_candidate(random_ids(1, length, seed=length)[0].tolist())
        for length in (positions - 2, 4)
    ]
    short, full = generate_texts(
        tiny_phi(), prompts, tokenizer=tokenizer, batch_size=2, max_new_tokens=8
    )
    alone = generate_texts(
        tiny_phi(), prompts[:1], tokenizer=tokenizer, batch_size=1, max_new_tokens=3
    )
    assert [short] == alone
    assert len(full) > len(short)
