"""Answers of all turns, each with its end, each after the gold history."""

import math

import numpy as np
import pytest

from phiray.evals.aggregate import aggregate_samples
from phiray.evals.instruct import InstructExample, InstructTask, evaluate_answers
from phiray.evals.settings import EvalSettings
from phiray.text.prompts import Turn, conversation_prompt
from tests.unit.evals.toys import OracleModel, UniformModel, byte_tokenizer

TOKENIZER = byte_tokenizer()
PATCHES = 2


def _task(turns: list[Turn], *, letter: str = "y", max_length: int = 400) -> InstructTask:
    token = TOKENIZER.encode(letter)[0]
    pixels = np.full((3, 2, 2), token, dtype=np.uint8)
    example = InstructExample("7-abc", 7, pixels, turns)
    other = InstructExample("8-abc", 8, np.zeros((3, 2, 2), dtype=np.uint8), turns)
    return InstructTask(
        examples=[example, other],
        tokenizer=TOKENIZER,
        num_patches=PATCHES,
        max_length=max_length,
        system="",
        settings=EvalSettings(batch_size=4, max_new_tokens=6),
    )


TURNS = [Turn("<image>\nWhat?", "yes"), Turn("And a long one?", "this is four words")]


def test_evaluate_answers_sums_all_tokens_with_the_end() -> None:
    model = UniformModel(TOKENIZER.vocab_size)
    samples = evaluate_answers(model, _task(TURNS), run="instruct")
    own = [sample for sample in samples if sample.arm == "instruct"]
    assert [sample.sample_id for sample in own] == ["7-abc#0", "7-abc#1", "8-abc#0", "8-abc#1"]
    nats = own[0].columns["answer_nats"][0]
    assert nats == pytest.approx(4 * math.log(256) + own[0].columns["eos_nats"][0], rel=1e-6)
    assert own[0].columns["eos_nats"][0] > 1e3
    assert own[0].columns["bits_per_byte"] == [pytest.approx(4 * math.log(256), rel=1e-6), 4.0]


def test_evaluate_answers_asks_exact_match_of_short_answers_only() -> None:
    samples = evaluate_answers(UniformModel(TOKENIZER.vocab_size), _task(TURNS), run="instruct")
    arms = aggregate_samples(samples, seed=0)
    assert list(arms) == ["instruct", "blank"]
    assert arms["instruct"]["exact_match"].n == 2
    assert arms["instruct"]["answer_nats"].n == 4


def test_evaluate_answers_generates_from_the_picture() -> None:
    question = "<image>\nWhich letter?"
    prompt = conversation_prompt(TOKENIZER, question, num_patches=PATCHES, system="")
    model = OracleModel(
        TOKENIZER.vocab_size, eos_id=TOKENIZER.eos_id, prompt_length=len(prompt), text_length=3
    )
    samples = evaluate_answers(model, _task([Turn(question, "yyy")]), run="instruct")
    said = {(s.arm, s.sample_id): (s.texts["answer"], s.columns["exact_match"][0]) for s in samples}
    assert said["instruct", "7-abc#0"] == ("yyy", 1.0)
    assert said["instruct", "8-abc#0"][1] == 0.0
    assert said["blank", "7-abc#0"][1] == 0.0
    assert samples[0].texts["question"] == "Which letter?"


def test_evaluate_answers_leaves_out_turns_that_do_not_fit() -> None:
    first = conversation_prompt(TOKENIZER, TURNS[0].question, num_patches=PATCHES, system="")
    task = _task(TURNS, max_length=len(first) + 10)
    samples = evaluate_answers(UniformModel(TOKENIZER.vocab_size), task, run="instruct")
    assert [s.sample_id for s in samples if s.arm == "instruct"] == ["7-abc#0", "8-abc#0"]
