"""The frozen idf serves each image alone; the constant is the one that scores best."""

import os
import subprocess
import sys

import numpy as np
import pytest

from phiray.evals.bleu import bleu_columns
from phiray.evals.caption_texts import best_constant_caption, caption_columns
from phiray.evals.cider import cider_d, idf_from_references
from phiray.evals.tokenize_captions import tokenize_captions

TRAIN = [
    ["A red circle on the left.", "a red circle"],
    ["A red square on the left.", "the red square"],
    ["A blue circle on the right.", "a blue circle"],
    ["A green star at the top.", "the star is green"],
    ["A red circle at the top.", "one red circle"],
]


def test_best_constant_caption_is_the_best_of_all_by_exhaustion() -> None:
    tokenised = [tokenize_captions(captions) for captions in TRAIN]
    idf = idf_from_references(tokenised)
    scores = {
        caption: cider_d([tokenize_captions([caption])[0]] * len(TRAIN), tokenised, idf=idf).mean()
        for captions in TRAIN
        for caption in captions
    }
    chosen = best_constant_caption(TRAIN, idf=idf)
    assert scores[chosen] == pytest.approx(max(scores.values()), abs=1e-12)
    assert len(scores) > 9


def test_best_constant_caption_does_not_depend_on_the_order_of_images() -> None:
    idf = idf_from_references([tokenize_captions(captions) for captions in TRAIN])
    assert best_constant_caption(TRAIN, idf=idf) == best_constant_caption(TRAIN[::-1], idf=idf)


SCORE_ALL = """
import json, random
from phiray.evals.aggregate import aggregate_samples
from phiray.evals.caption_texts import best_constant_caption, caption_columns
from phiray.evals.cider import idf_from_references
from phiray.evals.results import Sample, arms_to_json
from phiray.evals.tokenize_captions import tokenize_captions

words = random.Random(0)
colours, shapes, places = "red blue green", "circle square star", "left right top"
say = lambda: f"a {words.choice(colours.split())} {words.choice(shapes.split())} at the " \
    f"{words.choice(places.split())} of a {words.choice(colours.split())} picture"
texts = [[say() for _ in range(1 + number % 3)] for number in range(60)]
idf = idf_from_references([tokenize_captions(captions) for captions in texts])
constant = best_constant_caption(texts, idf=idf)
said = [captions[-1] for captions in texts[1:]] + [constant]
samples = [
    Sample("run", str(number), str(number // 2), columns)
    for number, columns in enumerate(caption_columns(said, texts, idf=idf))
]
arms = arms_to_json(aggregate_samples(samples, seed=0))
print(json.dumps([constant, sorted(idf.weights.items()), arms, repr(samples)]))
"""
"""In one process a set is walked in one order; only the seed of hashes changes it."""


def test_scores_are_equal_in_bytes_whatever_the_seed_of_hashes() -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCORE_ALL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert b"cider_d" in outputs[0]
    assert outputs[0] == outputs[1]


def test_caption_columns_tokenise_both_sides() -> None:
    idf = idf_from_references([tokenize_captions(captions) for captions in TRAIN])
    columns = caption_columns(["A RED CIRCLE!"], [["a red circle."]], idf=idf)[0]
    assert columns["rouge_l"] == [1.0, 1.0]
    assert columns["bleu_4"] == bleu_columns(["a red circle"], [["a red circle"]])[0].tolist()
    assert columns["cider_d"][0] == pytest.approx(7.5)  # no 4-gram in three words


def test_caption_columns_of_an_image_do_not_depend_on_the_others() -> None:
    idf = idf_from_references([tokenize_captions(captions) for captions in TRAIN])
    said = ["a red circle", "blue star on the right", "a green star", "", "one circle"]
    alone = [
        caption_columns([text], [gold], idf=idf)[0] for text, gold in zip(said, TRAIN, strict=True)
    ]
    assert caption_columns(said, TRAIN, idf=idf) == alone


@pytest.mark.parametrize("seed", range(8))
def test_best_constant_caption_is_the_best_when_words_repeat(seed: int) -> None:
    generator = np.random.default_rng(seed)
    train = [
        [" ".join(generator.choice(list("aabcd"), generator.integers(1, 9))) for _ in range(3)]
        for _ in range(12)
    ]
    idf = idf_from_references(train)

    def mean_score(caption: str) -> float:
        return float(cider_d([caption] * len(train), train, idf=idf).mean())

    best = max(mean_score(caption) for captions in train for caption in captions)
    chosen = mean_score(best_constant_caption(train, idf=idf))
    assert chosen == pytest.approx(best, abs=1e-12)
