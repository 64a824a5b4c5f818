"""A model that looks gains from the picture; one that does not gains nothing, and ties."""

import math
from dataclasses import replace

import numpy as np
import pytest

from phiray.evals.aggregate import aggregate_samples
from phiray.evals.caption import (
    CaptionExample,
    CaptionTask,
    blank_image,
    caption_sample_id,
    derangement,
    evaluate_captions,
)
from phiray.evals.cider import idf_from_references
from phiray.evals.results import Arms
from phiray.evals.scoring import Candidate, score_candidates, split_end
from phiray.evals.settings import EvalSettings
from phiray.text.prompts import answer_tokens, caption_prompt
from phiray.types import IGNORE_INDEX
from tests.unit.evals.toys import OracleModel, UniformModel, byte_tokenizer

TOKENIZER = byte_tokenizer()
PATCHES = 3
LETTERS = "bcdefghi"
WORDS = 5


def _task() -> CaptionTask:
    examples = []
    for number, letter in enumerate(LETTERS):
        token = TOKENIZER.encode(letter)[0]
        pixels = np.full((3, 2, 2), token, dtype=np.uint8)
        # The blank of a caption's start is the byte that the oracle gets wrong, for every image.
        examples.append(CaptionExample(10 + number, pixels, [letter * WORDS, letter * WORDS]))
    train = [["a b c", "b c"], ["c d e", "e"], ["bbbbb", "q"]]
    return CaptionTask(
        examples=examples,
        train_captions=train,
        idf=idf_from_references(train),
        tokenizer=TOKENIZER,
        num_patches=PATCHES,
        settings=EvalSettings(batch_size=5, max_new_tokens=12),
    )


def _oracle() -> OracleModel:
    return OracleModel(
        TOKENIZER.vocab_size,
        eos_id=TOKENIZER.eos_id,
        prompt_length=PATCHES,
        text_length=WORDS + 1,
    )


@pytest.fixture(scope="module")
def arms() -> Arms:
    blind = UniformModel(TOKENIZER.vocab_size)
    return aggregate_samples(evaluate_captions(_oracle(), blind, _task(), run="align"), seed=0)


def test_evaluate_captions_has_the_run_and_four_blind_rows(arms: Arms) -> None:
    assert list(arms) == ["align", "blank", "shuffled", "constant", "untrained"]
    assert set(arms["align"]) == {
        "bits_per_byte",
        "token_perplexity",
        "eos_nats",
        "caption_nats",
        "visual_gain_shuffled_nats",
        "visual_gain_blank_nats",
        "swap_accuracy",
        "cider_d",
        "bleu_4",
        "rouge_l",
    }
    assert set(arms["constant"]) == {"cider_d", "bleu_4", "rouge_l"}
    assert set(arms["shuffled"]) == {
        "bits_per_byte",
        "token_perplexity",
        "eos_nats",
        "caption_nats",
        "cider_d",
        "bleu_4",
        "rouge_l",
    }


def test_evaluate_captions_gives_an_oracle_all_swaps_and_its_known_gain(arms: Arms) -> None:
    assert arms["align"]["swap_accuracy"].value == 1.0
    # Each of the five letters costs 12 nats more when another letter is expected.
    assert arms["align"]["visual_gain_shuffled_nats"].value == pytest.approx(12.0 * WORDS, rel=1e-6)
    assert arms["align"]["visual_gain_blank_nats"].value > 0
    assert arms["align"]["swap_accuracy"].n == 2 * len(LETTERS)
    assert arms["align"]["rouge_l"].n == len(LETTERS)


def test_evaluate_captions_gives_a_blind_model_no_gain_and_half_of_the_swaps(arms: Arms) -> None:
    assert arms["untrained"]["visual_gain_shuffled_nats"].value == pytest.approx(0.0, abs=1e-6)
    assert arms["untrained"]["visual_gain_blank_nats"].value == pytest.approx(0.0, abs=1e-6)
    assert arms["untrained"]["swap_accuracy"].value == 0.5
    assert arms["untrained"]["bits_per_byte"].value == pytest.approx(8.0, rel=1e-6)


def test_evaluate_captions_counts_the_bytes_of_the_blank_before_a_caption(arms: Arms) -> None:
    sure = math.log(1 + (TOKENIZER.vocab_size - 1) * math.exp(-12.0))
    nats = WORDS * sure + (12.0 + sure)  # the blank is the one byte that it does not expect
    expected = nats / math.log(2) / (WORDS + 1)
    assert arms["align"]["bits_per_byte"].value == pytest.approx(expected, rel=1e-5)
    assert arms["align"]["eos_nats"].value == pytest.approx(sure, rel=1e-4)
    assert arms["align"]["caption_nats"].value == pytest.approx(nats + sure, rel=1e-5)
    assert arms["align"]["caption_nats"].n == 2 * len(LETTERS)


def test_evaluate_captions_scores_generated_text_of_own_and_of_shuffled_pictures() -> None:
    samples = evaluate_captions(_oracle(), _oracle(), _task(), run="align")
    said = {
        (sample.arm, sample.sample_id): sample.texts["answer"] for sample in samples if sample.texts
    }
    assert said["align", "10"] == "b" * (WORDS + 1)
    partners = derangement(len(LETTERS), seed=0)
    assert said["shuffled", "10"] == LETTERS[partners[0]] * (WORDS + 1)
    assert len({text for (arm, _), text in said.items() if arm == "blank"}) == 1
    assert len({text for (arm, _), text in said.items() if arm == "constant"}) == 1


def test_evaluate_captions_pairs_unequal_numbers_of_captions_with_the_partner_s_picture() -> None:
    said = {"b": ["b"], "c": ["cc", "bbbb", "dbcbd"], "d": ["dddccb", "cb"]}
    examples = [
        CaptionExample(number, np.full((3, 2, 2), TOKENIZER.encode(letter)[0], np.uint8), captions)
        for number, (letter, captions) in enumerate(said.items())
    ]
    task = replace(_task(), examples=examples)
    samples = evaluate_captions(_oracle(), _oracle(), task, run="align")
    prompt = caption_prompt(TOKENIZER, num_patches=PATCHES)
    wanted = {}
    for example, partner in zip(examples, derangement(3, seed=0), strict=True):
        for caption in example.captions:
            text = answer_tokens(TOKENIZER, caption)
            labels = [*[IGNORE_INDEX] * len(prompt), *text]
            row = Candidate([*prompt, *text], labels, examples[partner].pixels)
            alone = split_end(score_candidates(_oracle(), [row], batch_size=1)[0])
            wanted[caption_sample_id(example.image_id, caption)] = [alone.text, alone.eos]
    assert len({nats for nats, _ in wanted.values()}) == len(wanted)
    found = {
        sample.sample_id: [sample.columns[name][0] for name in ("bits_per_byte", "eos_nats")]
        for sample in samples
        if sample.arm == "shuffled" and "eos_nats" in sample.columns
    }
    assert found.keys() == wanted.keys()
    for name, nats in wanted.items():
        assert found[name] == pytest.approx(nats, abs=1e-5), name


def test_evaluate_captions_is_the_same_twice() -> None:
    blind = UniformModel(TOKENIZER.vocab_size)
    first = evaluate_captions(_oracle(), blind, _task(), run="align")
    assert first == evaluate_captions(_oracle(), blind, _task(), run="align")


def test_evaluate_captions_names_a_caption_the_same_when_another_is_left_out() -> None:
    whole = _task()
    examples = [replace(e, captions=["a first one", *e.captions[:1]]) for e in whole.examples]
    cut = [replace(e, captions=e.captions[1:]) for e in examples]
    blind = UniformModel(TOKENIZER.vocab_size)
    said = []
    for chosen in (examples, cut):
        samples = evaluate_captions(blind, blind, replace(whole, examples=chosen), run="align")
        scored = [s for s in samples if s.arm == "align" and "bits_per_byte" in s.columns]
        said.append({s.sample_id: s.columns["bits_per_byte"][1] for s in scored})
    assert len(said[0]) == 2 * len(said[1]) == 2 * len(LETTERS)
    assert {name: said[0][name] for name in said[1]} == said[1]


def test_caption_sample_id_tells_captions_and_images_apart() -> None:
    names = [caption_sample_id(1, "a dog"), caption_sample_id(1, "a cat")]
    assert len({*names, caption_sample_id(2, "a dog")}) == 3
    assert all(name.startswith("1#") for name in names)


@pytest.mark.parametrize("size", [2, 3, 10, 101])
def test_derangement_moves_everything(size: int) -> None:
    partners = derangement(size, seed=4)
    assert sorted(partners.tolist()) == list(range(size))
    assert (partners != np.arange(size)).all()


def test_blank_image_has_the_mean_colour() -> None:
    dark = np.zeros((3, 2, 4), dtype=np.uint8)
    light = np.zeros((3, 2, 4), dtype=np.uint8)
    light[0] = 200
    blank = blank_image([dark, light])
    assert blank.shape == (3, 2, 4)
    assert blank[0].tolist() == [[100] * 4] * 2
    assert blank[1:].max() == 0
